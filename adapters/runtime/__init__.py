"""The adapter runtime: everything about calling a PSP that is the same for every PSP."""
