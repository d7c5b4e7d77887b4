"""The classifiers of timm and torchvision behind one interface."""
