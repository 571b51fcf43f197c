# From the predictions of all models and folds to the submission file, and on request to Kaggle.


rule ensemble:
    input:
        oof=graph.predictions(SETTINGS, "oof"),
        test=graph.predictions(SETTINGS, "test"),
        masks="<results>/data/train_masks.npy",
        tiles="<results>/data/tiles.csv",
        folds="<results>/folds.csv",
    output:
        "<results>/ensemble/oof.npy",
        "<results>/ensemble/test.npy",
        weights="<results>/ensemble/weights.json",
    log:
        "<results>/ensemble/ensemble.log",
    conda:
        "../../envs/tgs-salt.yaml"
    threads: 4
    params:
        settings=graph.sections_json(ensemble=SETTINGS.ensemble, folds=SETTINGS.folds),
        models=",".join(SETTINGS.ensemble_models),
        oof=repeat_option("oof"),
        test=repeat_option("test"),
        folder=subpath(output.weights, parent=True),
        code=rule_digest("ensemble"),
    shell:
        "python -m tgs_salt ensemble --settings {params.settings:q} --models {params.models:q} {params.oof}"
        " {params.test} --masks {input.masks:q} --tiles {input.tiles:q} --folds {input.folds:q}"
        " --output {params.folder:q} --threads {threads} 2> {log:q}"


rule threshold:
    input:
        ensemble="<results>/ensemble/oof.npy",
        oof=graph.predictions(SETTINGS, "oof"),
        masks="<results>/data/train_masks.npy",
        tiles="<results>/data/tiles.csv",
        folds="<results>/folds.csv",
    output:
        report(
            "<results>/threshold.csv",
            caption="../report/threshold.rst",
            category="Tables",
            labels={"table": "score at each threshold"},
        ),
        report(
            "<results>/scores.csv",
            caption="../report/scores.rst",
            category="Tables",
            labels={"table": "score of each model and fold"},
        ),
        threshold="<results>/threshold.json",
    log:
        "<results>/threshold.log",
    conda:
        "../../envs/tgs-salt.yaml"
    threads: 4
    params:
        settings=graph.sections_json(threshold=SETTINGS.threshold, folds=SETTINGS.folds, ensemble=SETTINGS.ensemble),
        models=",".join(SETTINGS.ensemble_models),
        oof=repeat_option("oof"),
        folder=subpath(output.threshold, parent=True),
        code=rule_digest("threshold"),
    shell:
        "python -m tgs_salt threshold --settings {params.settings:q} --models {params.models:q}"
        " --ensemble {input.ensemble:q} {params.oof} --masks {input.masks:q} --tiles {input.tiles:q}"
        " --folds {input.folds:q} --output {params.folder:q} --threads {threads} 2> {log:q}"


rule submission:
    input:
        test="<results>/ensemble/test.npy",
        threshold="<results>/threshold.json",
        tiles="<results>/data/tiles.csv",
    output:
        "<results>/submission.csv",
    log:
        "<results>/submission.log",
    conda:
        "../../envs/tgs-salt.yaml"
    threads: 2
    params:
        code=rule_digest("submission"),
    shell:
        "python -m tgs_salt submission --test {input.test:q} --threshold {input.threshold:q} --tiles {input.tiles:q}"
        " --output {output:q} --threads {threads} 2> {log:q}"


# Only on request: `snakemake export --cores 1`, for `tgs-salt segment`.
rule export:
    input:
        collect(
            "<results>/models/{model}/fold{fold}/model.pt",
            model=SETTINGS.ensemble_models,
            fold=SETTINGS.folds.selected_folds,
        ),
        "<results>/ensemble/weights.json",
        threshold="<results>/threshold.json",
    output:
        "<results>/bundle.zip",
    log:
        "<results>/export.log",
    localrule: True
    conda:
        "../../envs/tgs-salt.yaml"
    params:
        settings=graph.sections_json(predict=SETTINGS.predict),
        code=rule_digest("export"),
        experiment=subpath(input.threshold, parent=True),
    shell:
        "python -m tgs_salt export {params.experiment:q} --settings {params.settings:q} --output {output:q} 2> {log:q}"


# Only on request: `snakemake submit --cores 1`.
rule submit:
    input:
        submission=submission_file,
        tiles="<results>/data/tiles.csv",
    output:
        "<results>/submitted.json",
    log:
        "<results>/submit.log",
    localrule: True
    conda:
        "../../envs/tgs-salt.yaml"
    params:
        competition=DATA.competition,
        experiment=SETTINGS.name,
        tile_size=DATA.tile_size,
    shell:
        "python -m tgs_salt submit --submission {input.submission:q} --competition {params.competition:q}"
        " --experiment {params.experiment:q} --tiles {input.tiles:q} --tile-size {params.tile_size}"
        " --receipt {output:q} 2> {log:q}"
