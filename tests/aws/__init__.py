"""Terraform applied to moto."""
