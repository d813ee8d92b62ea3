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
    "krizhevsky2012": Paper(
        "Krizhevsky, Sutskever, Hinton", 2012,
        "ImageNet classification with deep convolutional neural networks", "doi:10.1145/3065386",
    ),
    "lin2013": Paper("Lin, Chen, Yan", 2013, "Network in network", "arXiv:1312.4400"),
    "krizhevsky2014": Paper(
        "Krizhevsky", 2014,
        "One weird trick for parallelizing convolutional neural networks", "arXiv:1404.5997",
    ),
    "jia2014": Paper(
        "Jia, Shelhamer, Donahue, Karayev, Long, Girshick, Guadarrama, Darrell", 2014,
        "Caffe: convolutional architecture for fast feature embedding", "arXiv:1408.5093",
    ),
    "simonyan2014": Paper(
        "Simonyan, Zisserman", 2014,
        "Very deep convolutional networks for large-scale image recognition", "arXiv:1409.1556",
    ),
    "szegedy2014": Paper(
        "Szegedy, Liu, Jia, Sermanet, Reed, Anguelov, Erhan, Vanhoucke, Rabinovich", 2014,
        "Going deeper with convolutions", "arXiv:1409.4842",
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
    "ioffe2015": Paper(
        "Ioffe, Szegedy", 2015,
        "Batch normalization: accelerating deep network training by reducing internal covariate shift",
        "arXiv:1502.03167",
    ),
    "he2016": Paper(
        "He, Zhang, Ren, Sun", 2016,
        "Identity mappings in deep residual networks", "arXiv:1603.05027",
    ),
    "huang2016": Paper(
        "Huang, Sun, Liu, Sedra, Weinberger", 2016,
        "Deep networks with stochastic depth", "arXiv:1603.09382",
    ),
    "zagoruyko2016": Paper(
        "Zagoruyko, Komodakis", 2016, "Wide residual networks", "arXiv:1605.07146",
    ),
    "xie2017": Paper(
        "Xie, Girshick, Dollár, Tu, He", 2017,
        "Aggregated residual transformations for deep neural networks", "arXiv:1611.05431",
    ),
    "huang2017": Paper(
        "Huang, Liu, van der Maaten, Weinberger", 2017,
        "Densely connected convolutional networks", "arXiv:1608.06993",
    ),
    "hu2018": Paper(
        "Hu, Shen, Albanie, Sun, Wu", 2018, "Squeeze-and-excitation networks", "arXiv:1709.01507",
    ),
    "zhang2018": Paper(
        "Zhang, Zhou, Lin, Sun", 2018,
        "ShuffleNet: an extremely efficient convolutional neural network for mobile devices", "arXiv:1707.01083",
    ),
    "ma2018": Paper(
        "Ma, Zhang, Zheng, Sun", 2018,
        "ShuffleNet V2: practical guidelines for efficient CNN architecture design", "arXiv:1807.11164",
    ),
    "zhang2021": Paper(
        "Zhang, Lipton, Li, Smola", 2021, "Dive into deep learning", "arXiv:2106.11342",
    ),
    "dosovitskiy2021": Paper(
        "Dosovitskiy, Beyer, Kolesnikov, Weissenborn, Zhai, Unterthiner, Dehghani, Minderer, Heigold, Gelly, "
        "Uszkoreit, Houlsby", 2021,
        "An image is worth 16x16 words: transformers for image recognition at scale", "arXiv:2010.11929",
    ),
    "jordan2024": Paper("Jordan", 2024, "94% on CIFAR-10 in 3.29 seconds on a single GPU", "arXiv:2404.00498"),
}  # fmt: skip
