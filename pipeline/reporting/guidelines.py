"""The items of two reporting guidelines, in this project's words, and where a study answers them.

Numbers and topics follow CLAIM, update of 2024 (44 items), and TRIPOD+AI (27 items, 52 with their letters), as public
copies of the two checklists give them; the articles themselves could not be read where this was written. What an item
asks in full stands in the articles.
"""

from __future__ import annotations

from typing import NamedTuple

DOES_NOT_APPLY = ("no_person", "no_assessor", "no_update", "no_cluster_results")
"""Facts that say why an item does not apply; the first holds where a program drew the images."""


class Item(NamedTuple):
    """An item of a guideline.

    Parameters
    ----------
    number : str
        As published.
    topic : str
        What it asks for, in a few words.
    facts : tuple of str
        What the study knows of it: names of macros in ``pages/shared/answers.md``, and keys of
        `pipeline.reporting.views.checklist.facts`.
    about : tuple of str
        Keys of section ``about`` that it needs besides.
    either : bool
        Whether the facts do without the keys, where there are any.
    drawn : str
        Fact that answers it, alone, where the images are drawn; empty where that makes no difference.
    """

    number: str
    topic: str
    facts: tuple[str, ...] = ()
    about: tuple[str, ...] = ()
    either: bool = False
    drawn: str = ""


class Guideline(NamedTuple):
    """A guideline, its source, and its items by section."""

    name: str
    source: str
    doi: str
    sections: dict[str, tuple[Item, ...]]


_NO_PERSON = DOES_NOT_APPLY[0]

CLAIM = Guideline(
    "CLAIM 2024",
    "Tejani AS, Klontzas ME, Gatti AA, et al. Checklist for Artificial Intelligence in Medical Imaging (CLAIM): 2024 "
    "update. Radiol Artif Intell 2024;6(4):e240300",
    "10.1148/ryai.240300",
    {
        "Title and abstract": (
            Item("1", "Title names AI and its kind", ("technology",), ("title",)),
            Item("2", "Summary of design, methods, results, conclusions", ("verdict",), ("abstract",)),
        ),
        "Introduction": (
            Item("3", "Background, intended use and role", (), ("background", "intended_use")),
            Item("4", "Aims and hypotheses", ("question",), ("objectives",)),
        ),
        "Study design": (
            Item("5", "Prospective or retrospective", (), ("design",), drawn=_NO_PERSON),
            Item("6", "Goal of the study", ("goal",), ("objectives",)),
        ),
        "Data": (
            Item("7", "Sources of the data", ("source",), ("site",), drawn="source"),
            Item("8", "Inclusion and exclusion", ("excluded",), ("eligibility",), drawn="excluded"),
            Item("9", "Preprocessing", ("preprocessing",)),
            Item("10", "Selection of subsets", ("subsets",)),
            Item("11", "De-identification", ("pseudonyms",), ("de_identification",), drawn=_NO_PERSON),
            Item("12", "Missing data", ("missing",), ("missing_data",), drawn="missing"),
            Item("13", "Acquisition of the images", ("files",), ("acquisition",), drawn="files"),
        ),
        "Reference standard": (
            Item("14", "How it was obtained", ("labels",), ("reference_standard",), drawn="labels"),
            Item("15", "Why this one", (), ("reference_standard",), drawn="labels"),
            Item("16", "Who annotated", (), ("annotators",), drawn="labels"),
            Item("17", "Annotation of the test set", (), ("annotators",), drawn="labels"),
            Item("18", "Variability within and between raters", (), ("agreement",), drawn="labels"),
        ),
        "Partitions and testing data": (
            Item("19", "How data were assigned to the sets", ("split",)),
            Item("20", "Level at which the sets are disjoint", ("disjoint",)),
            Item("21", "Intended size of the test set", ("test_size",), ("sample_size",)),
        ),
        "Model": (
            Item("22", "Description of the model", ("models",)),
            Item("23", "Software", ("software",)),
            Item("24", "Initial parameters", ("initial",)),
        ),
        "Training": (
            Item("25", "Details of training", ("training",)),
            Item("26", "How the final model was selected", ("selection",)),
            Item("27", "Ensembling", ("ensembling",)),
        ),
        "Evaluation": (
            Item("28", "Metrics", ("metrics",)),
            Item("29", "Significance and uncertainty", ("statistics",)),
            Item("30", "Robustness and sensitivity", ("robustness",)),
            Item("31", "Explainability", (), ("explainability",)),
            Item("32", "Evaluation on internal data", ("internal",)),
            Item("33", "Testing on external data", ("external",), ("external_test",), drawn="external"),
            Item("34", "Registration of a clinical trial", (), ("registration",), drawn=_NO_PERSON),
        ),
        "Results": (
            Item("35", "Numbers included and excluded", ("flow",)),
            Item("36", "Characteristics of the cases in each set", ("characteristics",)),
            Item("37", "Performance and its uncertainty", ("results",)),
            Item("38", "Diagnostic performance and its precision", ("decisions",)),
            Item("39", "Analysis of failures", ("failures",)),
        ),
        "Discussion and other information": (
            Item("40", "Limitations", ("limits",)),
            Item("41", "Implications for practice", (), ("interpretation", "intended_use")),
            Item("42", "Protocol or further technical details", ("settings",), ("protocol",)),
            Item("43", "Availability of software, models, data", ("commit",), ("code_access", "data_access")),
            Item("44", "Funding, and the part of the funders", (), ("funding",)),
        ),
    },
)

TRIPOD = Guideline(
    "TRIPOD+AI",
    "Collins GS, Moons KGM, Dhiman P, et al. TRIPOD+AI statement: updated guidance for reporting clinical prediction "
    "models that use regression or machine learning methods. BMJ 2024;385:e078378",
    "10.1136/bmj-2023-078378",
    {
        "Title and abstract": (
            Item("1", "Title: prediction model, population, outcome", ("technology",), ("title",)),
            Item("2", "Abstract, by its own checklist", ("verdict",), ("abstract",)),
        ),
        "Introduction": (
            Item("3a", "Healthcare context, rationale, existing models", (), ("background",)),
            Item("3b", "Target population, purpose, users", (), ("intended_use",)),
            Item("3c", "Known health inequalities", (), ("inequalities",), drawn=_NO_PERSON),
            Item("4", "Objectives; development or evaluation", ("goal",), ("objectives",)),
        ),
        "Methods: data and participants": (
            Item("5a", "Sources of the data, representativeness", ("source",), ("site",), drawn="source"),
            Item("5b", "Dates of the data", ("dates",), ("dates",), either=True, drawn=_NO_PERSON),
            Item("6a", "Setting, number and location of centres", (), ("site",), drawn=_NO_PERSON),
            Item("6b", "Eligibility", ("excluded",), ("eligibility",), drawn="excluded"),
            Item("6c", "Treatments received", (), ("treatments",), drawn=_NO_PERSON),
            Item("7", "Preparation and quality checks of the data", ("preprocessing",)),
        ),
        "Methods: outcome and predictors": (
            Item("8a", "Outcome, how and when assessed", ("labels",), ("reference_standard",), drawn="labels"),
            Item("8b", "Who assessed the outcome", (), ("annotators",), drawn="labels"),
            Item("8c", "Blinding of its assessment", (), ("blinding",), drawn="labels"),
            Item("9a", "Choice of predictors", ("pixels",)),
            Item("9b", "Predictors, how and when measured", ("pixels", "files"), ("acquisition",), drawn="pixels"),
            Item("9c", "Who assessed the predictors", ("no_assessor",)),
            Item("10", "Sample size", ("test_size",), ("sample_size",)),
            Item("11", "Missing data", ("missing",), ("missing_data",), drawn="missing"),
        ),
        "Methods: analysis": (
            Item("12a", "Use of the data, partitions", ("split",)),
            Item("12b", "Handling of predictors", ("preprocessing",)),
            Item("12c", "Type of model, building, internal validation", ("models", "training", "selection")),
            Item("12d", "Heterogeneity between clusters", ("no_clusters",)),
            Item("12e", "Measures and plots of performance", ("metrics", "statistics")),
            Item("12f", "Updating of the model", ("no_update",)),
            Item("12g", "How predictions are computed", ("output",)),
            Item("13", "Class imbalance", ("imbalance",)),
            Item("14", "Approaches to fairness", ("fairness",), ("inequalities",), drawn="fairness"),
            Item("15", "Output of the model, thresholds", ("output",)),
            Item("16", "Differences between development and evaluation", ("same_source",)),
            Item("17", "Ethical approval and consent", (), ("ethics",), drawn=_NO_PERSON),
        ),
        "Open science": (
            Item("18a", "Funding", (), ("funding",)),
            Item("18b", "Conflicts of interest", (), ("conflicts",)),
            Item("18c", "Protocol", (), ("protocol",)),
            Item("18d", "Registration", (), ("registration",)),
            Item("18e", "Sharing of the data", ("licence",), ("data_access",)),
            Item("18f", "Sharing of the code", ("commit",), ("code_access",)),
            Item("19", "Involvement of the public", (), ("public_involvement",)),
        ),
        "Results": (
            Item("20a", "Flow of participants", ("flow",)),
            Item("20b", "Characteristics of the participants", ("characteristics",)),
            Item("20c", "Comparison with the development data", ("characteristics",)),
            Item("21", "Participants and outcomes in each analysis", ("numbers",)),
            Item("22", "The full model, and access to it", ("weights",), ("code_access",)),
            Item("23a", "Performance with intervals, in subgroups too", ("results", "subgroups")),
            Item("23b", "Heterogeneity between clusters, if examined", ("no_cluster_results",)),
            Item("24", "Results of updating", ("no_update",)),
        ),
        "Discussion": (
            Item("25", "Interpretation, fairness included", ("verdict",), ("interpretation",)),
            Item("26", "Limitations", ("limits",)),
            Item("27a", "Poor or missing input in use", ("unreadable",), ("use_in_practice",)),
            Item("27b", "What users must do and know", (), ("use_in_practice",)),
            Item("27c", "Next steps, applicability, generalisability", (), ("next_steps",)),
        ),
    },
)

GUIDELINES = (CLAIM, TRIPOD)
