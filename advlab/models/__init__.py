"""Models: any ``torch.nn.Module`` from images (N, C, H, W) in [0, 1] to logits (N, K)."""

from .activations import activations, layers, penultimate
from .cnn import CNN
from .contract import accuracy, frozen, predict, predict_logits
from .counting import count_parameters
from .ensemble import Ensemble, leave_one_out
from .gates import Layer, Neuron, and_gate, nand_gate, not_gate, or_gate, xor_network
from .kernel_svm import KernelSVM
from .mlp import MLP, LogisticRegression
from .normalized import Normalized
from .preprocessing import BPDA, Preprocessing, Substitutable
from .pretrained import Pretrained, architecture, pretrained, pretrained_names
from .resnet import ResNet
from .segmentation import SegmentationNet, class_iou, confusion, pixel_accuracy, predict_maps
from .zoo import Card, load_model, read_card

__all__ = [
    "BPDA",
    "CNN",
    "MLP",
    "Card",
    "Ensemble",
    "KernelSVM",
    "Layer",
    "LogisticRegression",
    "Neuron",
    "Normalized",
    "Preprocessing",
    "Pretrained",
    "ResNet",
    "SegmentationNet",
    "Substitutable",
    "accuracy",
    "activations",
    "and_gate",
    "architecture",
    "class_iou",
    "confusion",
    "count_parameters",
    "frozen",
    "layers",
    "leave_one_out",
    "load_model",
    "nand_gate",
    "not_gate",
    "or_gate",
    "penultimate",
    "pixel_accuracy",
    "predict",
    "predict_logits",
    "predict_maps",
    "pretrained",
    "pretrained_names",
    "read_card",
    "xor_network",
]
