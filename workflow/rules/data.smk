# From the data source, in Kaggle's layout, to arrays, a table of tiles and folds.


if DATA.source == "synthetic":

    rule synthesize:
        output:
            DATA_FILES,
        log:
            f"{graph.data_source(DATA)}/synthesize.log",
        conda:
            "../../envs/tgs-salt.yaml"
        params:
            settings=graph.data_json(DATA, "source", "seed", "tile_size", "train_tiles", "test_tiles"),
            folder=graph.data_source(DATA),
        shell:
            "python -m tgs_salt synthesize --settings {params.settings:q} --output {params.folder:q} 2> {log:q}"

elif graph.needs_download(DATA):

    # The zip is not an output: Snakemake deletes outputs before a job, and it may be the user's only copy.
    rule download:
        output:
            f"data/{DATA.competition}/{DATA.competition}.json",
        log:
            f"data/{DATA.competition}/download.log",
        localrule: True
        conda:
            "../../envs/tgs-salt.yaml"
        params:
            settings=graph.data_json(DATA, "source", "train_tiles", "test_tiles"),
            competition=DATA.competition,
            archive=graph.data_source(DATA),
        shell:
            "python -m tgs_salt download --settings {params.settings:q} --competition {params.competition:q}"
            " --archive {params.archive:q} 2> {log:q}"


rule preprocess:
    input:
        DATA_FILES,
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
        settings=graph.data_json(DATA, "source", "directory", "tile_size", "train_tiles", "test_tiles"),
        source=graph.data_source(DATA),
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
        # The selection is left out: it changes no fold, so trained folds stay valid.
        settings=graph.sections_json(folds=SETTINGS.folds.model_copy(update={"selected": None})),
    shell:
        "python -m tgs_salt folds --settings {params.settings:q} --tiles {input.tiles:q} --output {output:q} 2> {log:q}"
