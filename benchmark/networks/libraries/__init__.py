"""The classifiers of timm, torchvision and the MedMNIST paper, behind one interface."""
