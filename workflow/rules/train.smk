# Everything that exists once per model and fold: weights, and what they say of the tiles.


wildcard_constraints:
    model="[^/]+",
    fold="[0-9]+",
    shard="[0-9]+",
    # Test tiles in parts are the business of `predict_shard` and `gather`.
    split="oof|test" if SETTINGS.predict.shards == 1 else "oof",


rule train:
    input:
        unpack(stage_inputs),
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
    # The longest jobs first: predictions fill the gaps that they leave.
    priority: 1
    conda:
        "../../envs/tgs-salt.yaml"
    threads: lambda wildcards: SETTINGS.models[wildcards.model].threads
    resources:
        gpu=1,
    params:
        settings=lambda wildcards: section(model=SETTINGS.models[wildcards.model]),
        stages=stage_options,
    shell:
        "python -m tgs_salt train --model {wildcards.model} --fold {wildcards.fold} --gpus {resources.gpu}"
        " --settings {params.settings:q} --images {input.images:q} --masks {input.masks:q} --tiles {input.tiles:q}"
        " --folds {input.folds:q} {params.stages} --output {output.model:q} 2> {log:q}"


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
        settings=section(predict=SETTINGS.predict),
        code=prediction_code,
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
            settings=section(predict=SETTINGS.predict),
            code=prediction_code,
        shell:
            "python -m tgs_salt predict --split test --shard {wildcards.shard}/{wildcards.shards}"
            " --gpus {resources.gpu} --settings {params.settings:q} --model {input.model:q} --images {input.images:q}"
            " --tiles {input.tiles:q} --folds {input.folds:q} --output {output:q} 2> {log:q}"

    rule merge_shards:
        input:
            part=collect(
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
            parts=repeated("part"),
            code=prediction_code,
        shell:
            "python -m tgs_salt merge-shards {params.parts} --output {output:q} 2> {log:q}"
