"""The operations of a convolutional network from scratch, forwards and backwards: to be read, not to be fast.

`convolution`    cross-correlation with padding, stride, channels and groups; convolution; the size of an output
`pooling`        the greatest and the mean of each window
`normalization`  batch normalisation, in training and in evaluation
`dropout`        both conventions: scaled in training, or at test time
`perceptron`     the dense layer and the multilayer perceptron: forward, backward, a step of gradient descent
`residual`       x + F(x), and its gradient 1 + F'

Plain tensors and loops, one image at a time, no modules and no autograd; the derivatives are worked out by
hand. "Lecture" in these files means the course that the atlas grew from; its examples are their tests.
"""
