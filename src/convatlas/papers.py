"""The papers of the atlas: one entry each, under the key that models and claims refer to."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Paper:
    """Where something comes from."""

    authors: str
    year: int
    title: str
    identifier: str  # doi:… or arXiv:…

    @property
    def citation(self) -> str:
        """`LeCun et al. (1998), Gradient-based learning…, doi:10.1109/5.726791`."""
        return f"{self.authors} ({self.year}), {self.title}, {self.identifier}"


PAPERS = {
    "lecun1998": Paper(
        "LeCun, Bottou, Bengio, Haffner", 1998,
        "Gradient-based learning applied to document recognition", "doi:10.1109/5.726791",
    ),
    "glorot2010": Paper(
        "Glorot, Bengio", 2010,
        "Understanding the difficulty of training deep feedforward neural networks",
        "https://proceedings.mlr.press/v9/glorot10a.html",
    ),
    "he2015init": Paper(
        "He, Zhang, Ren, Sun", 2015,
        "Delving deep into rectifiers: surpassing human-level performance on ImageNet classification",
        "arXiv:1502.01852",
    ),
    "he2015": Paper(
        "He, Zhang, Ren, Sun", 2015,
        "Deep residual learning for image recognition", "arXiv:1512.03385",
    ),
    "zhang2021": Paper(
        "Zhang, Lipton, Li, Smola", 2021, "Dive into deep learning", "arXiv:2106.11342",
    ),
}  # fmt: skip
