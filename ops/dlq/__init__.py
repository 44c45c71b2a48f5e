"""Dead letters as operators handle them: counted, shown, put back, taken away, decided."""
