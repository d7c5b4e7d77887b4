"""The classifiers of timm and torchvision, and those of MedMNIST's paper, behind one interface."""
