# From a seismic dataset to a Kaggle submission.
#
#   snakemake -n                                  list the jobs and why they would run
#   snakemake --cores all --resources gpu=1       run everything on a GPU
#   snakemake --cores all --resources gpu=0       run everything on the CPU
#   snakemake submit --cores 1                    submit to Kaggle (not part of the commands above)

from snakemake.utils import min_version

min_version("9.19")


configfile: "config.yaml"


# For `snakemake --report FILE.html`, which lists rules and files. The experiment's report is results/<name>/report.html.
report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"


pathvars:
    results=f"results/{SETTINGS.name}",


include: "workflow/rules/data.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/submission.smk"
include: "workflow/rules/report.smk"


if workflow.is_main_process:  # cluster jobs parse this file as well
    warn_unused_models()


# Snakemake notices a deleted file only if a target names it. So this names every file that is costly or read by people.
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
            model=SETTINGS.required_models,
            fold=SETTINGS.folds.selected_folds,
        ),


onstart:
    graph.write_settings(SETTINGS)


onsuccess:
    graph.remove_finished_checkpoints(SETTINGS)
    graph.refresh_report(SETTINGS)
    warn_unused_models()
    graph.show_status(SETTINGS, rerun_options())


onerror:
    graph.print_failure_hint(SETTINGS, rerun_options())
