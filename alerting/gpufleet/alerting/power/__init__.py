"""Abnormal power: steps that no change of load explains, and hard bounds."""
