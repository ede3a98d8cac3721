"""What stands in a run's report, section by section: sentences, tables and pictures made from the run's facts."""

from __future__ import annotations

from dataclasses import replace

from evoens.diversity.measures import watched
from evoens.report import figures
from evoens.report.analyses import analyses
from evoens.report.corruption import corruption
from evoens.report.facts import Facts, Json
from evoens.report.films import films
from evoens.report.going_on import going_on
from evoens.report.independent import independent
from evoens.report.lineage import lineage
from evoens.report.parts import Picture, Section, Table, drawn, uri
from evoens.report.reliability import reliability
from evoens.report.result import result
from evoens.report.scope import scope
from evoens.report.searched import searched
from evoens.report.style import svg
from evoens.report.tables import KL_PARENT
from evoens.report.uses import uses
from evoens.scoring.text import duration, number

RULES = {"greedy": "one after another, each the one that helps the ensemble most", "top": "by their own scores"}
NOT_YET = "Not measured yet: the run has not come this far."


def sections(facts: Facts) -> list[Section]:
    """Return all sections of the page, in order; one whose data are not there says so."""
    if not facts.begun:
        return [*analyses(facts), _settings(facts)]
    search = [make(facts) for make in (_generations, _diversity, _saliency, _population)]
    rest = [make(facts) for make in (_sigma, _parent, _cost, going_on, _settings)]
    beside = [*reliability(facts), *uses(facts), *independent(facts), *corruption(facts), *films(facts)]
    return [
        *(_doubted(s, facts.unsure) for s in (result(facts), *beside, *search, *searched(facts))),
        *analyses(facts),
        *scope(facts),
        *rest,
    ]


def _doubted(section: Section, unsure: str) -> Section:
    """Say under each table of scores, where that is so, why the cases may not be unseen."""
    if not unsure:
        return section
    tables = [replace(table, caption=f"{table.caption} The cases {unsure}.".strip()) for table in section.tables]
    return replace(section, tables=tables)


def _generations(facts: Facts) -> Section:
    name, title, rows = "generations", "Generations", facts.generations
    if not rows:
        return Section(name, title, [NOT_YET])
    text = [
        "Fitness is measured on the search split, the same cases for all children. Reliability is the rank correlation "
        "of the children’s scores between two halves of those cases (Spearman–Brown corrected): near 1 the ranking "
        "would come out again, near 0 selection picks noise."
    ]
    if facts.report.get("unlike_test"):
        text.append(f"Scores do not compare with those on the test split: {facts.report['unlike_test']}.")
    head = [
        "Generation",
        "σ",
        "Best",
        "Mean",
        "Worst",
        "Parent",
        "Ensemble so far",
        "Reliability",
        "Failed",
        "Inputs/s",
    ]
    table = Table([_generation(facts, row) for row in rows], head, f"Fitness and ensemble: {facts.unit}.")
    if len(rows) == 1:
        return Section(name, title, [*text, "With one generation done there is no curve to draw."], [table])
    plot = figures.evolution(rows, facts.unit)
    words = "Curves over generations: fitness, its reliability, and the ensemble so far."
    return Section(name, title, text, [table], [drawn(plot, words)])


def _generation(facts: Facts, row: Json) -> list[str]:
    scores = [row["fitness"][key] for key in ("best", "mean", "worst", "parent")] + [row["ensemble"]]
    reliability = row["reliability"]
    return [
        str(row["generation"]),
        "–" if row["sigma"] is None else f"{row['sigma']:.3g}",
        *map(facts.number, scores),
        "–" if reliability is None else f"{reliability:+.2f}".replace("-", "−"),
        str(row["failed"]),
        f"{row['samples_per_second']:,.0f}",
    ]


def _diversity(facts: Facts) -> Section:
    name, title = "diversity", "Diversity of the members"
    rows = [row for row in facts.generations if row["diversity"]]
    if not rows:
        return Section(name, title, [NOT_YET])
    text = (
        "How much the members differ on the same probe inputs: in their outputs, and in the hashes of their saliency "
        "maps (share of bits that differ). The null floor is what the same measure says of one member against itself "
        "under the noise of the measuring: only what stands above it is diversity."
    )
    if len(rows) > 1:
        plot = drawn(figures.diversity(rows), "Curves over generations: each diversity measure beside its null floor.")
        return Section(name, title, [text], pictures=[plot])
    lines = [
        [measure.label, f"{last['value']:.3g}", f"{last['floor']:.3g}", measure.unit]
        for measure in watched()
        if (last := rows[0]["diversity"].get(measure.name))
    ]
    return Section(name, title, [text], [Table(lines, ["Measure", "Between members", "Null floor", "Unit"])])


def _saliency(facts: Facts) -> Section:
    caption = "The parent and the best children so far, on inputs of the search split."
    shown = [
        Picture(uri("png", data), "Probe inputs with the saliency maps of the members.", caption)
        for file, data in facts.pictures.items()
        if file.startswith("saliency") and file.endswith(".png")
    ]
    nothing = "The network has no gradient by its inputs: there is nothing to draw." if facts.generations else NOT_YET
    return Section("saliency", "What the members look at", [] if shown else [nothing], pictures=shown)


def _population(facts: Facts) -> Section:
    name, title = "population", "Population and selection"
    if not facts.scored:
        return Section(name, title, [NOT_YET])
    failed = len(facts.population) - len(facts.scored)
    counted = f"Children measured: {len(facts.population)}; failed: {failed or 'none'}."
    text = [counted, *_selection(facts), *_above_the_best(facts)]
    parent = facts.generations[-1]["fitness"]["parent"] if facts.generations else None
    pictures = []
    if len(facts.candidates) > 1:
        plot = figures.held_out(facts.candidates, facts.members, facts.unit)
        pictures.append(drawn(plot, "Scatter plot of the candidates’ scores on the search and the select split."))
    plot = svg(lineage(facts.scored, facts.members, parent, facts.unit))
    pictures.append(drawn(plot, "Every child’s fitness by generation, joined to the elite it comes from."))
    return Section(name, title, text, [_members(facts)] if facts.members else [], pictures)


def _members(facts: Facts) -> Table:
    generations = {row["key"]: row["generation"] for row in reversed(facts.population)}
    scores = {row["key"]: (row["search"], row["select"]) for row in facts.candidates}
    alone = {row["key"]: row for row in facts.alone}
    measures = facts.measures if alone else []
    rows = [
        [key[:12], str(generations.get(key, "–")), *map(facts.number, scores.get(key, (None, None)))]
        + [number(alone.get(key, {}).get(m["key"]), m["digits"]) for m in measures]
        for key in facts.members
    ]
    head = ["Member’s key", "Generation", "Search", "Select", *(f"Test: {m['label']}" for m in measures)]
    caption = f"Scores on the {'three' if alone else 'two'} splits: {facts.unit}."
    return Table(rows, head, caption)


def _above_the_best(facts: Facts) -> list[str]:
    """Say how far the ensemble is above the best member, where members were measured by themselves (DRE's Y)."""
    if not facts.alone:
        return []
    scores = [row["test"] for row in facts.alone]
    gain = facts.report["ensemble"]["test"]["score"] - max(scores)
    return [
        f"On the test split a member alone reaches {facts.number(sum(scores) / len(scores))} on average, the best of "
        f"them there {facts.number(max(scores))}; the ensemble’s score less that of this best one is "
        f"{facts.number(gain, '+')} ({facts.unit})."
    ]


def _selection(facts: Facts) -> list[str]:
    if not facts.members:
        return ["Members have not been chosen yet."]
    text = [f"The members were chosen on the select split, {RULES[facts.report['ensemble']['rule']]}."]
    if facts.report["ensemble"].get("parent"):
        text.append("The parent, which no gene has changed, votes beside them.")
    optimism = facts.report.get("selection_optimism")
    if optimism is not None:
        text.append(
            f"Selection optimism {facts.number(optimism, '+')}: the best child’s score on the select split, where it "
            f"was chosen, less its score on the test split ({facts.unit})."
        )
    elif facts.report.get("unlike_test"):
        text.append(f"Selection optimism has no figure: {facts.report['unlike_test']}.")
    return text


def _sigma(facts: Facts) -> Section:
    name, title, search = "sigma", "How σ was found", facts.history.get("trust_region")
    if not search:
        fixed = "The configuration fixes σ, so there was no search for it."
        if facts.generations and facts.generations[-1]["sigma"] is None:
            fixed = "What this Strategy does has no scale, so there is no σ."
        return Section(name, title, [fixed if facts.generations else NOT_YET])
    text = (
        f"Trust-region search: the noise may move the outputs by {search['target_kl']:g} nats on average, measured on "
        f"recorded inputs. The σ of the curve nearest to that is {search['sigma']:.3g}."
    )
    plot = drawn(svg(figures.trust_region(search)), f"{KL_PARENT}, and agreement with it, over σ.")
    return Section(name, title, [text], pictures=[plot])


def _parent(facts: Facts) -> Section:
    name, title, card = "parent", "The parent", facts.report.get("parent_card")
    if not card:
        return Section(name, title, [NOT_YET if not facts.report else "The parent came without a card."])
    known = {"steps": "{:,} environment steps", "epochs": "{} epochs", "seed": "seed {}"}
    words = [form.format(card[key]) for key, form in known.items() if card.get(key) is not None]
    if card.get("seconds") is not None:
        words.append(f"{duration(card['seconds'])} of training")
    code = [card["command"]] if card.get("command") else []
    text = ", ".join(words).capitalize() + "."
    curve = list(card.get("curve") or [])
    if curve and "epoch" in curve[0]:
        plot = drawn(figures.lessons(curve), "Loss and accuracy on what the parent learns from, over epochs.")
        return Section(name, title, [text], pictures=[plot], code=code)
    curve = [row for row in curve if row.get("return_mean") is not None]
    if len(curve) < 2:
        return Section(name, title, [text, "Its card holds no learning curve."], code=code)
    plot = drawn(figures.learning(curve, facts.unit), "The parent’s training return over environment steps.")
    return Section(name, title, [text], pictures=[plot], code=code)


def _cost(facts: Facts) -> Section:
    name, title, report = "cost", "Cost and artifact", facts.report
    if not report:
        return Section(name, title, [NOT_YET])
    cost, artifact = report["cost"], report["artifact"]
    rows = [
        ["Evaluations", f"{cost['evaluations']:,}"],
        ["Time", duration(cost["seconds"])],
        ["Speed", f"{cost['samples_per_second']:,.0f} inputs per second"],
        ["Peak memory", f"{cost['peak_rss_mb']:,.0f} MB"],
        *_compared(cost),
        ["Artifact", f"{artifact['bytes'] / 1e6:.2f} MB"],
        ["Members", f"{artifact['replayable']} replayable (parent and genome), {artifact['tuned']} with weights kept"],
    ]
    splits = [[split, _cases(described)] for split, described in report["splits"].items()]
    return Section(name, title, [], [Table(rows), Table(splits, caption="The splits are disjoint by construction.")])


def _cases(split: Json) -> str:
    """Say how many cases a split has and which: a range, or some of the images of a pool."""
    if "from" in split:
        return f"{split['count']:,} images from {split['from']}"
    return f"{split['count']} cases, from {split.get('start', split.get('first'))} on"


def _compared(cost: Json) -> list[list[str]]:
    """What parent and ensemble cost to train, to ask and to keep, as far as the run knows."""
    rows = []
    epochs, flops, weights = (cost.get(name, {}) for name in ("epochs", "flops", "weights"))
    if epochs.get("parent") is not None:
        rows.append(["Training", f"{epochs['parent']} epochs of the parent, {epochs['children']} of all children"])
    if frames := cost.get("frames"):
        trained = [f"{frames['parent']:,} frames of the parent"] if frames["parent"] else []
        rows.append(["Training", ", ".join([*trained, f"{frames['children']:,} frames of all children"])])
    if flops.get("parent") and flops.get("ensemble"):
        ratio = flops["ensemble"] / flops["parent"]
        parent, ensemble = (f"{flops[who] / 1e6:,.1f}" for who in ("parent", "ensemble"))
        rows.append(["A prediction", f"{parent} MFLOP by the parent, {ensemble} by the ensemble ({ratio:.2f} ×)"])
    if flops.get("shrunk") and flops["shrunk"] < flops["ensemble"]:
        few = f"{flops['shrunk'] / 1e6:,.1f} MFLOP by ensemble.modules(shrunk=True)"
        rows.append(["Without empty channels", few])
    if weights:
        kept = f"{weights['parent']:,} of the parent, {weights['ensemble']:,} for the ensemble"
        rows.append(["Numbers to keep", kept])
    return rows


def _settings(facts: Facts) -> Section:
    versions = [[package, str(version)] for package, version in facts.report.get("versions", {}).items()]
    tables = [Table(versions)] if versions else []
    return Section("settings", "Settings and versions", tables=tables, code=[facts.config])
