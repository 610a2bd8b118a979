"""`shardpipe models CONFIG`: the weights that a config needs, where they are, and fetching those that are not here."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from shardpipe.cli.arguments import AsJson, ConfigFile, Overrides

if TYPE_CHECKING:
    from shardpipe.engine.passes.passweights import Need
    from shardpipe.models.weights import State


def command(
    config: ConfigFile,
    *,
    overrides: Overrides = None,
    pull: Annotated[
        bool, typer.Option("--pull", help="Fetch what is not here, and what has changed where it comes from.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List the weights that a config's stages load: size, licence, sha256, and where each file is."""
    from shardpipe.cli.fetching import pull_all  # noqa: PLC0415  --help must not wait for fsspec
    from shardpipe.cli.output import write_json, write_line, write_table  # noqa: PLC0415
    from shardpipe.config.load import load_config  # noqa: PLC0415
    from shardpipe.engine.passes.passweights import needs_of  # noqa: PLC0415
    from shardpipe.models.weights import state  # noqa: PLC0415

    needs = needs_of(load_config(config, overrides or ()))
    distinct = list(dict.fromkeys(need.weights for need in needs))
    failed = pull_all(distinct) if pull else {}
    states = {each: state(each) for each in distinct}
    if as_json:
        write_json({"weights": [_record(need, states[need.weights], failed.get(need.weights)) for need in needs]})
    elif not needs:
        write_line("no stage of this config loads weights")
    else:
        header = ["pass", "stage", "role", "url", "size", "licence", "sha256", "where"]
        write_table(header, [_row(need, states[need.weights]) for need in needs], left=len(header))
    if failed:
        raise typer.Exit(1)


def _row(need: "Need", found: "State") -> list[str]:
    from shardpipe.cli.output import num_bytes  # noqa: PLC0415

    size, sha256 = num_bytes(found.num_bytes), (found.sha256 or "-")[:12]
    where = f"missing: {found.reason}" if found.where == "missing" else found.where
    weights = need.weights
    return [
        need.pass_name,
        f"{need.number} {need.stage.type}",
        need.name,
        weights.url,
        size,
        weights.licence,
        sha256,
        where,
    ]


def _record(need: "Need", found: "State", error: str | None) -> dict[str, Any]:
    weights = need.weights
    return {
        "pass": need.pass_name,
        "stage": need.stage.type,
        "number": need.number,
        "role": need.name,
        "url": weights.url,
        "num_bytes": found.num_bytes,
        "licence": weights.licence,
        "source": weights.source,
        "sha256": found.sha256,
        "where": found.where,
        "path": None if found.path is None else str(found.path),
        "reason": found.reason,
        "error": error,
    }
