"""Ours and the peers side by side, as ratios; survey_rules says how hard a synthetic survey is."""
