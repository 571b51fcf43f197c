# Training and prediction of each model and fold.


wildcard_constraints:
    model="[^/]+",
    fold="[0-9]+",
    shard="[0-9]+",
    # With shards, `predict_shard` and `merge_shards` predict the test tiles.
    split="oof|test" if SETTINGS.predict.shards == 1 else "oof",


rule train:
    input:
        unpack(lambda wildcards: graph.stage_inputs(SETTINGS, wildcards.model, wildcards.fold)),
        images="<results>/data/train_images.npy",
        masks="<results>/data/train_masks.npy",
        tiles="<results>/data/tiles.csv",
        folds="<results>/folds.csv",
    output:
        model="<results>/models/{model}/fold{fold}/model.pt",
        history="<results>/models/{model}/fold{fold}/history.csv",
        timing="<results>/models/{model}/fold{fold}/timing.json",
    log:
        "<results>/models/{model}/fold{fold}/train.log",
    # Start the longest jobs first; predictions fill the remaining slots.
    priority: 1
    conda:
        "../../envs/tgs-salt.yaml"
    threads: lambda wildcards: SETTINGS.models[wildcards.model].threads
    resources:
        gpu=1,
    params:
        settings=lambda wildcards: graph.sections_json(model=SETTINGS.models[wildcards.model]),
        stage_options=lambda wildcards, input: graph.stage_options(dict(input.items())),
    shell:
        "python -m tgs_salt train --model {wildcards.model} --fold {wildcards.fold} --gpus {resources.gpu}"
        " --settings {params.settings:q} --images {input.images:q} --masks {input.masks:q} --tiles {input.tiles:q}"
        " --folds {input.folds:q} {params.stage_options} --output {output.model:q} 2> {log:q}"


rule predict:
    input:
        model="<results>/models/{model}/fold{fold}/model.pt",
        images=lambda wildcards: f"<results>/data/{'train' if wildcards.split == 'oof' else 'test'}_images.npy",
        tiles="<results>/data/tiles.csv",
        folds="<results>/folds.csv",
    output:
        "<results>/models/{model}/fold{fold}/{split}.npy",
    log:
        "<results>/models/{model}/fold{fold}/predict_{split}.log",
    conda:
        "../../envs/tgs-salt.yaml"
    threads: lambda wildcards: SETTINGS.models[wildcards.model].threads
    resources:
        gpu=1,
    params:
        settings=graph.sections_json(predict=SETTINGS.predict),
        # Not passed to the command: a changed digest makes Snakemake rerun the rule.
        code=lambda wildcards: graph.prediction_code(SETTINGS, wildcards.model),
    shell:
        "python -m tgs_salt predict --split {wildcards.split} --gpus {resources.gpu} --settings {params.settings:q}"
        " --model {input.model:q} --images {input.images:q} --tiles {input.tiles:q} --folds {input.folds:q}"
        " --output {output:q} 2> {log:q}"


if SETTINGS.predict.shards > 1:

    rule predict_shard:
        input:
            model="<results>/models/{model}/fold{fold}/model.pt",
            images="<results>/data/test_images.npy",
            tiles="<results>/data/tiles.csv",
            folds="<results>/folds.csv",
        output:
            temp("<results>/models/{model}/fold{fold}/test/{shard}-of-{shards}.npy"),
        log:
            "<results>/models/{model}/fold{fold}/test/{shard}-of-{shards}.log",
        conda:
            "../../envs/tgs-salt.yaml"
        threads: lambda wildcards: SETTINGS.models[wildcards.model].threads
        resources:
            gpu=1,
        params:
            settings=graph.sections_json(predict=SETTINGS.predict),
            # Not passed to the command: a changed digest makes Snakemake rerun the rule.
            code=lambda wildcards: graph.prediction_code(SETTINGS, wildcards.model),
        shell:
            "python -m tgs_salt predict --split test --shard {wildcards.shard}/{wildcards.shards}"
            " --gpus {resources.gpu} --settings {params.settings:q} --model {input.model:q} --images {input.images:q}"
            " --tiles {input.tiles:q} --folds {input.folds:q} --output {output:q} 2> {log:q}"

    rule merge_shards:
        input:
            shard=collect(
                "<results>/models/{{model}}/fold{{fold}}/test/{shard}-of-{shards}.npy",
                shard=range(SETTINGS.predict.shards),
                shards=SETTINGS.predict.shards,
            ),
        output:
            "<results>/models/{model}/fold{fold}/test.npy",
        log:
            "<results>/models/{model}/fold{fold}/merge_shards.log",
        conda:
            "../../envs/tgs-salt.yaml"
        params:
            shards=repeat_option("shard"),
            # Not passed to the command: a changed digest makes Snakemake rerun the rule.
            code=lambda wildcards: graph.prediction_code(SETTINGS, wildcards.model),
        shell:
            "python -m tgs_salt merge-shards {params.shards} --output {output:q} 2> {log:q}"
