# From a seismic dataset to a Kaggle submission.
#
#   snakemake -n                                  what would run, and why
#   snakemake --cores all --resources gpu=1       everything, on a GPU
#   snakemake --cores all --resources gpu=0       the same on the CPU
#   snakemake submit --cores 1                    send the submission (never part of the above)

from snakemake.utils import min_version

min_version("9.19")


configfile: "config.yaml"


# Of `snakemake --report FILE.html`, which tells of rules and files; the experiment's own page is results/<name>/report.html.
report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"


pathvars:
    results=f"results/{SETTINGS.name}",


include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/submission.smk"
include: "workflow/rules/report.smk"


if workflow.is_main_process:  # not each job that a cluster starts
    tell_untrained()


# Every precious file is named, and every one that is read without the graph, so that one that was deleted is noticed.
rule all:
    default_target: True
    input:
        "<results>/submission.csv",
        "<results>/report.html",
        "<results>/threshold.json",
        "<results>/scores.csv",
        "<results>/ensemble/oof.npy",
        "<results>/ensemble/test.npy",
        "<results>/ensemble/weights.json",
        collect(
            "<results>/models/{model}/fold{fold}/model.pt",
            model=SETTINGS.needed,
            fold=SETTINGS.folds.used,
        ),


onstart:
    write_settings()


onsuccess:
    forget_checkpoints()
    refresh_report()
    show_status()


onerror:
    explain_failure()
