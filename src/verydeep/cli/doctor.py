"""`verydeep doctor`: what works on this machine, and what to install for the rest."""

import click

COLOURS = {"ok": "green", "missing": "cyan", "warning": "yellow", "broken": "red"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
def doctor(as_json: bool) -> int:
    """What works on this machine, and what to install for the rest.

    Each line has a mark, what was looked at and what was found; below it, where something can be done, what to do.
    ok: works. missing: not installed, and the rest works without it. warning: works, but look at it. broken: verydeep
    cannot work; the exit code is then 1.
    """
    import json

    from verydeep.cli.doctor_checks import run_checks

    checks = []
    for check in run_checks():
        checks.append(check)
        if not as_json:
            click.echo(f"{click.style(f'{check.mark:<8}', COLOURS[check.mark])} {check.what:<18} {check.detail}")
            if check.remedy:
                click.echo(f"{'':27} {click.style(check.remedy, bold=True)}")
    broken = [check.what for check in checks if check.mark == "broken"]
    if as_json:
        click.echo(json.dumps({"works": not broken, "checks": [check.to_dict() for check in checks]}, indent=2))
    else:
        click.echo(f"\nbroken: {', '.join(broken)}" if broken else "\nverydeep works on this machine.")
    return 1 if broken else 0
