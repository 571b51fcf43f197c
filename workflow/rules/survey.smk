# Where tiles come from: data/ in Kaggle's own layout, then arrays, a table and folds.


if SURVEY.source == "synthetic":

    rule synthesise:
        output:
            [f"{survey_place()}/{name}" for name in SYNTHETIC_FILES],
        log:
            f"{survey_place()}/synthesise.log",
        conda:
            "../../envs/tgs-salt.yaml"
        params:
            settings=survey_section("source", "seed", "tile_size", "train_tiles", "test_tiles"),
            folder=survey_place(),
        shell:
            "python -m tgs_salt synthesise --settings {params.settings:q} --output {params.folder:q} 2> {log:q}"

elif SURVEY.source == "kaggle" and not MOUNT:

    # The zip itself is no output: Snakemake deletes outputs before a job, and it may be somebody's only copy.
    rule download:
        output:
            f"data/{SURVEY.competition}/{SURVEY.competition}.json",
        log:
            f"data/{SURVEY.competition}/download.log",
        localrule: True
        conda:
            "../../envs/tgs-salt.yaml"
        params:
            settings=survey_section("source", "train_tiles", "test_tiles"),
            competition=SURVEY.competition,
            archive=survey_place(),
        shell:
            "python -m tgs_salt download --settings {params.settings:q} --competition {params.competition:q}"
            " --archive {params.archive:q} 2> {log:q}"


rule pack:
    input:
        survey_files(),
    output:
        "<results>/survey/train_images.npy",
        "<results>/survey/train_masks.npy",
        "<results>/survey/test_images.npy",
        tiles="<results>/survey/tiles.csv",
    log:
        "<results>/survey/pack.log",
    conda:
        "../../envs/tgs-salt.yaml"
    threads: 4
    params:
        settings=survey_section("source", "directory", "tile_size", "train_tiles", "test_tiles"),
        source=survey_place(),
        folder=subpath(output.tiles, parent=True),
    shell:
        "python -m tgs_salt pack --settings {params.settings:q} --source {params.source:q}"
        " --output {params.folder:q} --threads {threads} 2> {log:q}"


rule folds:
    input:
        tiles="<results>/survey/tiles.csv",
    output:
        "<results>/folds.csv",
    log:
        "<results>/folds.log",
    localrule: True
    conda:
        "../../envs/tgs-salt.yaml"
    params:
        # Which folds are used changes none of them: folds that were trained stay.
        settings=section(folds=SETTINGS.folds.model_copy(update={"use": None})),
    shell:
        "python -m tgs_salt folds --settings {params.settings:q} --tiles {input.tiles:q} --output {output:q} 2> {log:q}"
