# What people look at.


rule report:
    input:
        "<results>/threshold.csv",
        "<results>/scores.csv",
        decision="<results>/threshold.json",
        history=collect(
            "<results>/models/{model}/fold{fold}/history.csv",
            model=SETTINGS.needed,
            fold=SETTINGS.folds.used,
        ),
    output:
        "<results>/report.html",
    log:
        "<results>/report.log",
    conda:
        "../../envs/tgs-salt.yaml"
    params:
        experiment=subpath(input.decision, parent=True),
        history=repeated("history"),
    shell:
        "python -m tgs_salt report --experiment {params.experiment:q} {params.history} --output {output:q} 2> {log:q}"
