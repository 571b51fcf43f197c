# Where tiles come from: data/ in Kaggle's own layout, then arrays, a table and folds.


if DATA.source == "synthetic":

    rule synthesize:
        output:
            [f"{dataset_place()}/{name}" for name in SYNTHETIC_FILES],
        log:
            f"{dataset_place()}/synthesize.log",
        conda:
            "../../envs/tgs-salt.yaml"
        params:
            settings=dataset_section("source", "seed", "tile_size", "train_tiles", "test_tiles"),
            folder=dataset_place(),
        shell:
            "python -m tgs_salt synthesize --settings {params.settings:q} --output {params.folder:q} 2> {log:q}"

elif DATA.source == "kaggle" and not MOUNT:

    # The zip itself is no output: Snakemake deletes outputs before a job, and it may be somebody's only copy.
    rule download:
        output:
            f"data/{DATA.competition}/{DATA.competition}.json",
        log:
            f"data/{DATA.competition}/download.log",
        localrule: True
        conda:
            "../../envs/tgs-salt.yaml"
        params:
            settings=dataset_section("source", "train_tiles", "test_tiles"),
            competition=DATA.competition,
            archive=dataset_place(),
        shell:
            "python -m tgs_salt download --settings {params.settings:q} --competition {params.competition:q}"
            " --archive {params.archive:q} 2> {log:q}"


rule preprocess:
    input:
        dataset_files(),
    output:
        "<results>/data/train_images.npy",
        "<results>/data/train_masks.npy",
        "<results>/data/test_images.npy",
        tiles="<results>/data/tiles.csv",
    log:
        "<results>/data/preprocess.log",
    conda:
        "../../envs/tgs-salt.yaml"
    threads: 4
    params:
        settings=dataset_section("source", "directory", "tile_size", "train_tiles", "test_tiles"),
        source=dataset_place(),
        folder=subpath(output.tiles, parent=True),
    shell:
        "python -m tgs_salt preprocess --settings {params.settings:q} --source {params.source:q}"
        " --output {params.folder:q} --threads {threads} 2> {log:q}"


rule folds:
    input:
        tiles="<results>/data/tiles.csv",
    output:
        "<results>/folds.csv",
    log:
        "<results>/folds.log",
    localrule: True
    conda:
        "../../envs/tgs-salt.yaml"
    params:
        # Which folds are used changes none of them: folds that were trained stay.
        settings=section(folds=SETTINGS.folds.model_copy(update={"selected": None})),
    shell:
        "python -m tgs_salt folds --settings {params.settings:q} --tiles {input.tiles:q} --output {output:q} 2> {log:q}"
