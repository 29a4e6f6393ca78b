"""The catalogue: every benchmark whose documents `harness.data` can load, and the pinned commits of the hub.

Splits are those that the papers score. What could be checked of each source, and what could not, is said in the README
of its folder under tasks/.
"""

from __future__ import annotations

from harness import formats, mirror
from harness.benchmarks import Benchmark
from harness.languages import TYDIQA_CODES

REVISIONS = {  # hub repository → commit
    "facebook/xnli": "b8dd5d7af51114dbda02c0e3f6133f332186418e",
    "aps/super_glue": "3de24cf8022e94f4ee4b9d55a6f539891524d646",
    "cambridgeltl/xcopa": "d36092ac152946cbcd860bf813c3b03e48c3ef3d",
    "juletxara/xstory_cloze": "55665be374fa074a3577eecbe6f1853a28639133",
    "Muennighoff/xwinograd": "5a7fb2ff13d5a74415b2abc4b876778cbe9c36ad",
    "allenai/winogrande": "01e74176c63542e6b0bcb004dcdea22d94fb67b5",
    "cais/mmlu": "c30699e8356da336a370243923dbaf21066bb9fe",
    "openai/openai_humaneval": "7dce6050a7d6d172f3cc5c32aa97f52fa1a2e544",
    "google-research-datasets/tydiqa": "da78f23f9119363459acbaf46bf89426ff26c259",
    "facebook/anli": "8e4813d81f46d313dac7892e1c28076917cfcdf9",
    "SaylorTwift/bbh": "b5306be6f827cfafbb545ff5a51f96916029b0fd",
    "juletxara/mgsm": "f52417ca77bd71e9888ddc29f92587660725d2b4",
    "wmt/wmt14": "b199e406369ec1b7634206d3ded5ba45de2fe696",
    "csebuetnlp/xlsum": "78642a3f8d2682887683ac9e62ed2d6f33c87316",
    "mteb/mlsum": "b4efe498c4d0b9d7bdd2905f6fff4e22ae251d00",
}
XWINOGRAD_ROWS = {"en": 2325, "fr": 83, "jp": 959, "pt": 263, "ru": 315, "zh": 504}
TYDIQA_ROWS = {"ar": 921, "bn": 113, "en": 440, "fi": 782, "id": 565, "ko": 276, "ru": 812, "sw": 499, "te": 669}
TYDIQA_NAMES = {code: name for name, code in TYDIQA_CODES.items() if code in TYDIQA_ROWS}
BBH_ROWS = {
    **dict.fromkeys(
        """boolean_expressions date_understanding disambiguation_qa dyck_languages formal_fallacies geometric_shapes
        hyperbaton logical_deduction_five_objects logical_deduction_seven_objects logical_deduction_three_objects
        movie_recommendation multistep_arithmetic_two navigate object_counting reasoning_about_colored_objects ruin_names
        salient_translation_error_detection sports_understanding temporal_sequences tracking_shuffled_objects_five_objects
        tracking_shuffled_objects_seven_objects tracking_shuffled_objects_three_objects web_of_lies word_sorting""".split(),
        250,
    ),
    "causal_judgement": 187,
    "penguins_in_a_table": 146,
    "snarks": 178,
}
MMLU_ROWS = dict(
    abstract_algebra=100, anatomy=135, astronomy=152, business_ethics=100, clinical_knowledge=265,
    college_biology=144, college_chemistry=100, college_computer_science=100, college_mathematics=100,
    college_medicine=173, college_physics=102, computer_security=100, conceptual_physics=235, econometrics=114,
    electrical_engineering=145, elementary_mathematics=378, formal_logic=126, global_facts=100,
    high_school_biology=310, high_school_chemistry=203, high_school_computer_science=100,
    high_school_european_history=165, high_school_geography=198, high_school_government_and_politics=193,
    high_school_macroeconomics=390, high_school_mathematics=270, high_school_microeconomics=238,
    high_school_physics=151, high_school_psychology=545, high_school_statistics=216, high_school_us_history=204,
    high_school_world_history=237, human_aging=223, human_sexuality=131, international_law=121,
    jurisprudence=108, logical_fallacies=163, machine_learning=112, management=103, marketing=234,
    medical_genetics=100, miscellaneous=783, moral_disputes=346, moral_scenarios=895, nutrition=306,
    philosophy=311, prehistory=324, professional_accounting=282, professional_law=1534,
    professional_medicine=272, professional_psychology=612, public_relations=110, security_studies=245,
    sociology=201, us_foreign_policy=100, virology=166, world_religions=171,
)  # fmt: skip
BBH_NLP_ROWS = dict(
    hyperbaton=10000, formal_fallacies_syllogisms_negation=2840, reasoning_about_colored_objects=400,
    salient_translation_error_detection=199, sports_understanding=197, movie_recommendation=100, ruin_names=89,
    date_understanding=73, disambiguation_qa=51, causal_judgment=38, snarks=36, penguins_in_a_table=29,
)  # fmt: skip
XLSUM_ROWS = dict(
    amharic=719, arabic=4689, azerbaijani=809, bengali=1012, burmese=570, chinese_simplified=4670,
    chinese_traditional=4670, english=11535, french=1086, gujarati=1139, hausa=802, hindi=8847, igbo=522,
    indonesian=4780, japanese=889, kirundi=718, korean=550, kyrgyz=500, marathi=1362, nepali=725, oromo=757,
    pashto=1794, persian=5906, pidgin=1151, portuguese=7175, punjabi=1026, russian=7780, scottish_gaelic=500,
    serbian_cyrillic=909, serbian_latin=909, sinhala=500, somali=745, spanish=4763, swahili=987, tamil=2027,
    telugu=1302, thai=826, tigrinya=681, turkish=3397, ukrainian=5399, urdu=8458, uzbek=590, vietnamese=4013,
    welsh=1216, yoruba=793,
)  # fmt: skip
MLSUM_ROWS = {"de": 10701, "es": 13920, "fr": 15828, "ru": 757, "tu": 12775}
NLI = {"premise": str, "hypothesis": str}


def _xcopa_mirror_file(subset: str, split: str) -> str:
    mark = "-" if subset == "en" else "."  # English COPA is not in XCOPA's repository and is named otherwise
    return f"xcopa/{subset}/{'val' if split == 'validation' else split}{mark}{subset}.jsonl"


def _xcopa_hub_file(subset: str, split: str) -> tuple[str, str]:
    if subset == "en":
        return "aps/super_glue", f"copa/{split}-00000-of-00001.parquet"
    return "cambridgeltl/xcopa", f"{subset}/{split}/0000.parquet"


def _foreign(direction: str) -> str:
    """The language of a direction that is not English."""
    return next(language for language in direction.split("-") if language != "en")


def _wmt14_file(direction: str, language: str) -> str:
    return f"wmt14_{_foreign(direction)}_en/newstest2014.{language}.txt"


def _superglue(task: str, title: str, rows: int, labels: tuple[int, ...]) -> Benchmark:
    return Benchmark(
        title=title, licence="see SuperGLUE's terms (research)", subsets=("en",), splits=("validation",),
        columns={**NLI, "label": labels}, rows=lambda subset, split: rows,
        mirror_file=lambda subset, split: f"super_glue/{task.upper()}/val.jsonl", parse=formats.parse_superglue(task),
        hub_file=lambda subset, split: ("aps/super_glue", f"{task}/{split}-00000-of-00001.parquet"),
        hidden=("premise",), promptsource=f"super_glue/{task}", promptsource_by_language=False,
    )  # fmt: skip


def _prompted(title: str, folder: str, subsets, rows, shots: str, file=None, subset_is="language") -> Benchmark:
    """DiffusionLLM's prompted files; the split is the number of shots."""
    return Benchmark(
        title=f"{title} (DiffusionLLM's prompts)", licence="none stated; of the underlying sets", subsets=tuple(subsets),
        splits=tuple(f"{n}-shot" for n in shots), columns={"inputs": str, "targets": str, "subset": subsets}, rows=rows,
        mirror_file=file or (lambda subset, split: f"diffusionllm_instruct/{folder}/{split}/validation/{subset}.jsonl"),
        parse=formats.parse_prompted, subset_is=subset_is, published="github.com/yegcjs/DiffusionLLM (data/instruct)",
    )  # fmt: skip


BENCHMARKS: dict[str, Benchmark] = {
    "xnli": Benchmark(
        title="XNLI", licence="CC BY-NC 4.0",
        subsets=tuple("ar bg de el en es fr hi ru sw th tr ur vi zh".split()), splits=("validation", "test"),
        columns={**NLI, "label": (0, 1, 2)}, rows=lambda subset, split: {"validation": 2490, "test": 5010}[split],
        mirror_file=lambda subset, split: f"xnli/{'dev' if split == 'validation' else split}-{subset}.tsv",
        parse=mirror.parse_xnli,
        hub_file=lambda subset, split: ("facebook/xnli", f"{subset}/{split}-00000-of-00001.parquet"),
        hidden=("premise",), promptsource="xnli",
    ),
    "xcopa": Benchmark(
        title="XCOPA", licence="CC BY 4.0; English COPA BSD-2-Clause",
        subsets=tuple("en et ht id it qu sw ta th tr vi zh".split()), splits=("validation", "test"),
        columns={"premise": str, "choice1": str, "choice2": str, "question": ("cause", "effect"), "label": (0, 1)},
        rows=lambda subset, split: {"validation": 100, "test": 500}[split], mirror_file=_xcopa_mirror_file,
        parse=mirror.parse_xcopa, hub_file=_xcopa_hub_file, hidden=("premise",), promptsource="xcopa",
        published="github.com/cambridgeltl/xcopa (data; English: COPA)",
    ),
    "xstorycloze": Benchmark(
        title="XStoryCloze", licence="CC BY-SA 4.0",
        subsets=tuple("ar en es eu hi id my ru sw te zh".split()), splits=("eval",),
        columns={
            **{f"input_sentence_{i}": str for i in (1, 2, 3, 4)},
            "sentence_quiz1": str,
            "sentence_quiz2": str,
            "answer_right_ending": (1, 2),
        },
        rows=lambda subset, split: 1511,
        mirror_file=lambda subset, split: f"xstory_cloze/spring2016.val.{subset}.tsv.split_20_80_{split}.tsv",
        parse=mirror.parse_xstorycloze,
        hub_file=lambda subset, split: ("juletxara/xstory_cloze", f"{subset}/{split}/0000.parquet"),
        hidden=tuple(f"input_sentence_{i}" for i in (1, 2, 3, 4)), promptsource="Muennighoff/xstory_cloze",
        published="cs.rochester.edu/nlp/rocstories (on request)",
    ),
    "xwinograd": Benchmark(
        title="XWinograd", licence="Apache-2.0; the merged Winograd sets keep their own terms",
        subsets=tuple(XWINOGRAD_ROWS), splits=("test",),
        columns={"sentence": str, "option1": str, "option2": str, "answer": ("1", "2")},
        rows=lambda subset, split: XWINOGRAD_ROWS[subset], mirror_file=lambda subset, split: "xwinograd/dataset.tsv",
        parse=mirror.parse_xwinograd,
        hub_file=lambda subset, split: ("Muennighoff/xwinograd", f"{subset}/{split}/0000.parquet"),
        file_rows=3961,  # its zh part has 16 items; the hub's has 504, from a later collection
        hidden=("sentence",), promptsource="Muennighoff/xwinograd",
        published="github.com/yandex-research/crosslingual_winograd",
    ),
    "rte": _superglue("rte", "RTE", 277, (0, 1)),
    "cb": _superglue("cb", "CommitmentBank", 56, (0, 1, 2)),
    "anli": Benchmark(
        title="ANLI", licence="CC BY-NC 4.0", subsets=("r1", "r2", "r3"), splits=("dev",), subset_is="round",
        columns={**NLI, "label": (0, 1, 2)}, rows=lambda subset, split: 1200 if subset == "r3" else 1000,
        mirror_file=lambda subset, split: f"anli/{subset.upper()}/{split}.jsonl", parse=formats.parse_anli,
        hub_file=lambda subset, split: ("facebook/anli", f"plain_text/{split}_{subset}-00000-of-00001.parquet"),
        hidden=("premise",), promptsource="anli", promptsource_by_language=False,
        published="github.com/facebookresearch/anli",
    ),
    "winogrande": Benchmark(
        title="Winogrande", licence="Apache-2.0 (repository)", subsets=("en",), splits=("validation",),
        columns={"sentence": str, "option1": str, "option2": str, "answer": ("1", "2")}, rows=lambda subset, split: 1267,
        mirror_file=lambda subset, split: "winogrande_1.1/dev.jsonl", parse=formats.parse_json_lines,
        hub_file=lambda subset, split: ("allenai/winogrande", "winogrande_xl/validation-00000-of-00001.parquet"),
        hidden=("sentence",), promptsource="winogrande/winogrande_xl", promptsource_by_language=False,
        published="github.com/allenai/winogrande",
    ),
    "mmlu": Benchmark(
        title="MMLU", licence="MIT", subsets=tuple(MMLU_ROWS), splits=("test", "dev"), subset_is="subject",
        columns={"question": str, "choices": list, "answer": (0, 1, 2, 3), "subject": tuple(MMLU_ROWS)},
        rows=lambda subset, split: 5 if split == "dev" else MMLU_ROWS[subset],
        mirror_file=lambda subset, split: f"mmlu/{split}/{subset}_{split}.csv", parse=formats.parse_mmlu,
        hub_file=lambda subset, split: ("cais/mmlu", f"{subset}/{split}-00000-of-00001.parquet"),
        convert=formats.mmlu_from_hub, hidden=("question",),
        published="github.com/hendrycks/test",
    ),
    "bbh": Benchmark(
        title="BIG-Bench Hard", licence="MIT", subsets=tuple(sorted(BBH_ROWS)), splits=("test",), subset_is="task",
        columns={"input": str, "target": str, "task": tuple(BBH_ROWS), "cot_prompt": str},
        rows=lambda subset, split: BBH_ROWS[subset], mirror_file=lambda subset, split: f"bbh/bbh/{subset}.json",
        beside=lambda subset, split: (f"bbh/cot-prompts/{subset}.txt",), parse=formats.parse_bbh,
        published="github.com/suzgunmirac/BIG-Bench-Hard",
    ),
    "bbh_zero_shot": Benchmark(
        title="BIG-Bench Hard without its prompts", licence="MIT", subsets=tuple(sorted(BBH_ROWS)), splits=("test",),
        subset_is="task", columns={"input": str, "target": str, "task": tuple(BBH_ROWS)},
        rows=lambda subset, split: BBH_ROWS[subset], mirror_file=lambda subset, split: f"bbh/bbh/{subset}.json",
        beside=lambda subset, split: (f"bbh/cot-prompts/{subset}.txt",), parse=formats.parse_bbh,
        hub_file=lambda subset, split: ("SaylorTwift/bbh", f"{subset}/test-00000-of-00001.parquet"),
        convert=lambda row, subset: {**row, "task": subset},
        published="github.com/suzgunmirac/BIG-Bench-Hard",
    ),
    "mgsm": Benchmark(
        title="MGSM", licence="CC BY 4.0", subsets=tuple("bn de en es fr ja ru sw te th zh".split()),
        splits=("test", "train"),  # train: the eight worked examples of each language
        columns={"question": str, "answer": str}, rows=lambda subset, split: 250 if split == "test" else 8,
        mirror_file=lambda subset, split: f"mgsm/mgsm_{subset}.tsv" if split == "test" else "mgsm/exemplars.py",
        parse=formats.parse_mgsm, published="github.com/google-research/url-nlp",
        hub_file=lambda subset, split: ("juletxara/mgsm", f"mgsm_{subset}.tsv" if split == "test" else "exemplars.py"),
    ),
    "tydiqa": Benchmark(
        title="TyDiQA-GoldP", licence="Apache-2.0; passages CC BY-SA", subsets=tuple(TYDIQA_ROWS), splits=("validation",),
        columns={"context": str, "question": str, "answers": list, "question_id": str},
        rows=lambda subset, split: TYDIQA_ROWS[subset],
        mirror_file=lambda subset, split: f"tydiqa_goldp/tydiqa.goldp.{subset}.dev.json", parse=formats.parse_squad,
        hub_file=lambda subset, split: (
            "google-research-datasets/tydiqa", "secondary_task/validation-00000-of-00001.parquet"),
        convert=formats.tydiqa_from_hub,
        published="github.com/google-research-datasets/tydiqa",
    ),
    "z_bench": Benchmark(
        title="Z-Bench", licence="CC BY 4.0", subsets=("common", "emergent", "specialized"), splits=("test",),
        subset_is="set", columns={"question": str, "task_type": None, "reference": None},
        rows=lambda subset, split: {"common": 63, "emergent": 209, "specialized": 39}[subset],
        mirror_file=lambda subset, split: f"z_bench/{subset}.samples.csv", parse=formats.parse_z_bench,
        published="github.com/zhenbench/z-bench",
    ),
    "humaneval": Benchmark(
        title="HumanEval", licence="MIT", subsets=("python",), splits=("test",),
        columns={"task_id": str, "prompt": str, "entry_point": str, "canonical_solution": str, "test": str},
        rows=lambda subset, split: 164, mirror_file=lambda subset, split: "humaneval/HumanEval.jsonl.gz",
        parse=formats.parse_json_lines,
        hub_file=lambda subset, split: ("openai/openai_humaneval", "openai_humaneval/test-00000-of-00001.parquet"),
        published="github.com/openai/human-eval (data)",
    ),
    "wmt14": Benchmark(
        title="WMT14", licence="none stated; released for research", splits=("test",), subset_is="direction",
        subsets=("de-en", "en-de", "fr-en", "en-fr", "hi-en", "en-hi"),
        columns={"text": str, "reference": str, "translation": None},
        rows=lambda subset, split: 2507 if "hi" in subset else 3003,
        mirror_file=lambda subset, split: _wmt14_file(subset, subset.split("-")[0]),
        beside=lambda subset, split: (_wmt14_file(subset, subset.split("-")[1]),), parse=formats.parse_parallel,
        hub_file=lambda subset, split: ("wmt/wmt14", f"{_foreign(subset)}-en/test-00000-of-00001.parquet"),
        convert=formats.translation_from_hub,
    ),
    "gigaword": Benchmark(
        title="Gigaword", licence="LDC: not free", subsets=("en",), splits=("test",),
        columns={"text": str, "summary": str}, rows=lambda subset, split: 1951,
        mirror_file=lambda subset, split: "gigaword/test.article.txt",
        beside=lambda subset, split: ("gigaword/test.title.txt",), parse=formats.parse_articles,
    ),
    "gigaword_p3": Benchmark(
        title="Gigaword with P3's prompts", licence="LDC: not free; templates Apache-2.0", splits=("train",),
        subsets=("TLDR", "generate_summary_for_this", "make_a_title"), subset_is="template",
        columns={"inputs": str, "targets": str}, rows=lambda subset, split: None,
        mirror_file=lambda subset, split: f"gigaword_p3/gigaword_{subset}.jsonl", parse=formats.parse_p3,
    ),
    "xlsum": Benchmark(
        title="XL-Sum", licence="CC BY-NC-SA 4.0", subsets=tuple(XLSUM_ROWS), splits=("test",),
        columns={"text": str, "summary": str}, rows=lambda subset, split: XLSUM_ROWS[subset],
        mirror_file=lambda subset, split: f"xlsum/{subset}_{split}.jsonl", parse=formats.parse_json_lines,
        hub_file=lambda subset, split: ("csebuetnlp/xlsum", f"{subset}/{split}/0000.parquet"),
        published="github.com/csebuetnlp/xl-sum",
    ),
    "mlsum": Benchmark(
        title="MLSUM", licence="research use", subsets=tuple(MLSUM_ROWS), splits=("test",),
        columns={"text": str, "summary": str}, rows=lambda subset, split: MLSUM_ROWS[subset],
        mirror_file=lambda subset, split: f"mlsum/{subset}_{split}.jsonl", parse=formats.parse_json_lines,
        hub_file=lambda subset, split: ("mteb/mlsum", f"{subset}/{split}-00000-of-00001.parquet"),
    ),
    "diffusionllm_mmlu": _prompted(
        "MMLU", "mmlu", tuple(MMLU_ROWS), lambda subset, split: MMLU_ROWS[subset], subset_is="subject",
        file=lambda subset, split: f"diffusionllm_instruct/mmlu/{split}/test/{subset}.jsonl", shots="0123",
    ),
    "diffusionllm_bbh_nlp": _prompted(
        "BBH-NLP", "bbh-nlp", tuple(BBH_NLP_ROWS), lambda subset, split: BBH_NLP_ROWS[subset], subset_is="task", shots="013",
    ),
    "diffusionllm_tydiqa": _prompted(
        "TyDiQA", "tydiqa", (*TYDIQA_NAMES.values(), "japanese", "thai"),
        lambda subset, split: {TYDIQA_NAMES[key]: count for key, count in TYDIQA_ROWS.items()}.get(
            subset, {"japanese": 455, "thai": 790}.get(subset)), shots="01",
    ),
    "diffusionllm_mgsm": _prompted(
        "MGSM", "mgsm", ("de", "en", "zh"), lambda subset, split: 250,
        file=lambda subset, split: f"diffusionllm_instruct/mgsm/{split}/{subset}.jsonl", shots="0138",
    ),
    "diffusionllm_iwslt14": _prompted(
        "IWSLT14", "iwslt14", ("deen", "ende"), lambda subset, split: 6750, subset_is="direction",
        file=lambda subset, split: f"diffusionllm_instruct/iwslt14/{split}/test/{subset}.jsonl", shots="013",
    ),
}  # fmt: skip
