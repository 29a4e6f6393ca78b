"""The whole suite, files in and files out: corpus → tokenizer → checkpoints → runs → speed → tables, figures, report.

`make tables SUITE=mini` calls it; each rule is an ordinary command that also works by hand. A second call does
nothing, a killed call goes on, and only what an edited recipe or suite changes is made again. Rules name no machine:
`snakemake --executor slurm` runs the same file on a cluster.
"""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(workflow.basedir)))
from harness.suites import load_suite
from trainers.contamination import SCHEMA_VERSION as SEAL_VERSION
from trainers.world.build import SCHEMA_VERSION

suite = load_suite(config.get("suite", "mini"))
ROOT = f"results/{suite.name}"
PYTHON = sys.executable
RECIPES = {system.name: system.recipe for system in suite.systems}
PAIRS = [(system.name, seed) for system in suite.systems for seed in suite.seeds]
CORPUS = f"{ROOT}/corpus/manifest.json" if suite.corpus else []
TOKENIZER = f"{ROOT}/tokenizer/tokenizer.json" if suite.corpus else []
SCORING = suite.scoring if suite.scoring and suite.scoring.with_tables else None
MEASURED = {"decoding.csv": suite.speed, "lengths.csv": suite.lengths, "traces.jsonl": suite.traces, "scoring.csv": SCORING}
SPEED = {f"{ROOT}/speed/{name}": name.partition(".")[0] for name, plan in MEASURED.items() if plan}
JUDGED = [f"{ROOT}/judge/shapes.csv"] if suite.judge else []
ANALYSED = [f"{ROOT}/analysis/fits.csv"] if suite.analysis else []
BY_HAND = [f"{ROOT}/judge/*/summary_*.json", "results/judge/trust_*.json", f"{ROOT}/checkpoints/mixtures/*/contamination.csv"]


rule all:
    input:
        f"{ROOT}/report.md",


if suite.corpus:

    rule corpus:
        output:
            f"{ROOT}/corpus/manifest.json",
        params:
            seed=suite.corpus.seed,
            records=suite.corpus.records,
            scale=suite.corpus.items_scale,
            version=SCHEMA_VERSION,
        shell:
            "ANYORDER_LINES=1 {PYTHON} -m trainers world --out {ROOT}/corpus --seed {params.seed} "
            "--records {params.records} --items-scale {params.scale}"

    rule tokenizer:
        input:
            CORPUS,
        output:
            f"{ROOT}/tokenizer/tokenizer.json",
        params:
            vocabulary=suite.corpus.vocabulary,
        shell:
            "{PYTHON} -m trainers tokenizer --corpus {ROOT}/corpus --vocabulary {params.vocabulary} --out {ROOT}/tokenizer"


    rule contamination:
        input:
            CORPUS,
        output:
            f"{ROOT}/corpus/contamination.csv",
            f"{ROOT}/corpus/contamination.json",
        params:
            version=SEAL_VERSION,
        shell:
            "{PYTHON} -m trainers contamination {ROOT}/corpus/train.jsonl --items {ROOT}/corpus/eval/*.jsonl > /dev/null"


rule train:
    priority: 1  # all networks first: their evaluations, which are shorter, then share the cores evenly
    input:
        recipe=lambda wildcards: RECIPES[wildcards.system].partition("@")[0],
        corpus=CORPUS,
        tokenizer=TOKENIZER,
    output:
        f"{ROOT}/checkpoints/{{system}}-{{seed}}/checkpoint.json",
    params:
        data=f"--corpus {ROOT}/corpus --tokenizer {ROOT}/tokenizer" if suite.corpus else "",
        folder=lambda wildcards: f"{ROOT}/checkpoints/{wildcards.system}-{wildcards.seed}",
        steps=f"--steps {suite.steps}" if suite.steps else "",
        recipe=lambda wildcards: RECIPES[wildcards.system],
    threads: 1
    shell:
        "OMP_NUM_THREADS={threads} ANYORDER_LINES=1 {PYTHON} -m trainers train {params.recipe} --seed {wildcards.seed} "
        "{params.data} {params.steps} --out {params.folder}"


rule evaluate:
    input:
        f"{ROOT}/checkpoints/{{system}}-{{seed}}/checkpoint.json",
        corpus=CORPUS,
        tasks=sorted(str(path) for path in Path("tasks").glob("mini/*.[yp]*") if suite.corpus),
    output:
        f"{ROOT}/runs/{{system}}-{{seed}}/done.json",
    params:
        asked=lambda wildcards: [e.model_dump_json() for e in suite.evaluations_of(wildcards.system)],
        system=lambda wildcards: suite.system(wildcards.system).model_dump_json(),
        name=config.get("suite", "mini"),
    threads: 1
    shell:
        "OMP_NUM_THREADS={threads} ANYORDER_LINES=1 {PYTHON} -m harness run --suite {params.name} "
        "--system {wildcards.system} --seed {wildcards.seed}"


if suite.analysis:

    rule analysis:
        input:
            [f"{ROOT}/checkpoints/{system}-{seed}/checkpoint.json" for system, seed in PAIRS],
        output:
            f"{ROOT}/analysis/fits.csv",
        params:
            plan=suite.analysis.model_dump_json(),
            name=config.get("suite", "mini"),
        shell:
            "OMP_NUM_THREADS=1 ANYORDER_LINES=1 {PYTHON} -m trainers analysis --suite {params.name}"


if suite.judge:

    rule judge:
        input:
            [f"{ROOT}/checkpoints/{system.name}-{suite.seeds[0]}/checkpoint.json" for system in suite.systems],
            CORPUS,
        output:
            f"{ROOT}/judge/shapes.csv",
        params:
            plan=suite.judge.model_dump_json(),
            name=config.get("suite", "mini"),
        threads: 1
        shell:
            "OMP_NUM_THREADS={threads} ANYORDER_LINES=1 {PYTHON} -m harness judge scripted --suite {params.name} > /dev/null"


if SPEED:

    rule speed:
        input:
            # after all training and evaluation, and alone: what runs beside it would change what it measures
            [f"{ROOT}/checkpoints/{name}-{suite.seeds[0]}/checkpoint.json" for name, _ in PAIRS],
            [f"{ROOT}/runs/{name}-{seed}/done.json" for name, seed in PAIRS],
            JUDGED,
        output:
            list(SPEED),
        params:
            plan=[plan.model_dump_json() for plan in MEASURED.values() if plan],
            only=" ".join(SPEED.values()),
            name=config.get("suite", "mini"),
        threads: lambda wildcards, attempt: workflow.cores or 1
        shell:
            "OMP_NUM_THREADS=1 ANYORDER_LINES=1 {PYTHON} -m harness speed --suite {params.name} --only {params.only} > /dev/null"


rule report:
    input:
        [f"{ROOT}/runs/{name}-{seed}/done.json" for name, seed in PAIRS],
        list(SPEED),
        JUDGED,
        ANALYSED,
        f"{ROOT}/corpus/contamination.csv" if suite.corpus else [],
        sorted(str(path) for path in Path("reports").rglob("*.yaml")),
        sorted(str(path) for pattern in BY_HAND for path in Path().glob(pattern)),  # judged or looked for: no rule makes them
    output:
        f"{ROOT}/report.md",
        f"{ROOT}/report/index.html",
    params:
        name=config.get("suite", "mini"),
        labels=[(system.name, system.label, system.paradigm) for system in suite.systems],
    shell:
        "{PYTHON} -m reports build --suite {params.name} > /dev/null"
