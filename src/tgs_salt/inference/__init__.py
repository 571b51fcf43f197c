"""Prediction of tiles, and segmentation of images with a bundle of trained models."""
