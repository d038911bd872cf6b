"""x"""


def random_shift(images, draws, pad=4):
    raise NotImplementedError


def intensity(images, draws, scale=0.05):
    raise NotImplementedError
