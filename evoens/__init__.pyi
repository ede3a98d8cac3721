from evoens.ensemble import Ensemble as Ensemble
from evoens.ensemble import load_ensemble as load_ensemble
from evoens.evolving import evolve as evolve
from evoens.genome import Gene as Gene
from evoens.genome import Genome as Genome
from evoens.genome import Mask as Mask
from evoens.parent import Parent as Parent
from evoens.problem import Problem as Problem
from evoens.strategy import Strategy as Strategy
from evoens.tables.written import table as table

__version__: str
