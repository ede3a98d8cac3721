"""Has the method, but not the base."""


class Broken:
    def perturb(self, name, weight, gene):
        return weight
