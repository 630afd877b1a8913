"""The sparse convolutional backbone: voxels of a cloud in, a feature vector per voxel out."""
