# The experiment's report.


rule report:
    input:
        graph.predictions(SETTINGS, "oof"),
        graph.predictions(SETTINGS, "test"),
        collect(
            "<results>/models/{model}/fold{fold}/{file}",
            model=SETTINGS.required_models,
            fold=SETTINGS.folds.selected_folds,
            file=["history.csv", "timing.json"],
        ),
        "<results>/data/tiles.csv",
        "<results>/data/train_images.npy",
        "<results>/data/train_masks.npy",
        "<results>/data/test_images.npy",
        "<results>/folds.csv",
        "<results>/ensemble/oof.npy",
        "<results>/ensemble/test.npy",
        "<results>/ensemble/weights.json",
        "<results>/scores.csv",
        "<results>/submission.csv",
        threshold="<results>/threshold.json",
    output:
        report(
            "<results>/report.html",
            caption="../report/page.rst",
            category="Experiment",
            labels={"page": "the whole experiment"},
        ),
    log:
        "<results>/report.log",
    conda:
        "../../envs/tgs-salt.yaml"
    threads: 2
    params:
        experiment=subpath(input.threshold, parent=True),
        settings=json.dumps(graph.effective_settings(SETTINGS)),
        code=rule_digest("report"),
    shell:
        "python -m tgs_salt report {params.experiment:q} --settings {params.settings:q} --output {output:q}"
        " --threads {threads} 2> {log:q}"
