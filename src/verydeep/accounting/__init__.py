"""Architecture -> numbers: what each layer costs and sees, the memory and the time it takes, and its picture.

Pure Python: neither numpy nor torch is imported.
"""

from verydeep.accounting.layers import LayerAccount, Totals, account_layers, total

__all__ = ["LayerAccount", "Totals", "account_layers", "total"]
