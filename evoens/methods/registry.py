"""The methods that a table names plainly: what they are is read from their sources, and imported when they are used."""

from __future__ import annotations

from typing import Any

BASELINES = {
    "single": "evoens.methods.single:Single",
    "dropout": "evoens.methods.dropout:Dropout",
    "mc-dropout": "evoens.methods.mc_dropout:MCDropout",
    "bagging": "evoens.methods.bagging:Bagging",
    "dense": "evoens.methods.dense:Dense",
    "snapshot": "evoens.methods.snapshot:Snapshot",
    "fast-geometric": "evoens.methods.fast_geometric:FastGeometric",
    "horizontal-voting": "evoens.methods.horizontal_voting:HorizontalVoting",
    "swa": "evoens.methods.swa:SWA",
    "soup": "evoens.methods.model_soup:ModelSoup",
    "lottery-ticket": "evoens.methods.lottery_ticket:LotteryTicket",
    "tree-net": "evoens.methods.tree_net:TreeNet",
    "batch-ensemble": "evoens.methods.batch_ensemble:BatchEnsemble",
    "mimo": "evoens.methods.mimo:MIMO",
    "masksembles": "evoens.methods.masksembles:Masksembles",
    "packed": "evoens.methods.packed:Packed",
    "dst": "evoens.methods.dst:DST",
    "edst": "evoens.methods.edst:EDST",
    "mother-nets": "evoens.methods.mother_nets:MotherNets",
}
"""Those that train networks themselves, and where they are."""

_ONE: dict[str, Any] = {"search": {"population": 1, "generations": 1, "elites": 0}, "selection": {"size": 1}}

PRUNED: dict[str, dict[str, Any]] = {
    "one-shot": {"strategy": {"class": "sparse", "parts": 1}, **_ONE},
    "iterative": {"strategy": {"class": "sparse", "parts": 1, "rounds": 5}, **_ONE},
    "magnitude": {"strategy": {"class": "sparse", "parts": 1, "by": "magnitude"}, **_ONE},
}
"""One pruned child of a trained parent: the sections of a run that evolves it (dissertation table 6.1)."""
