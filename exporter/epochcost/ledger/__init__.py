"""The ledger: where every device-second and every dollar goes. Pure: no clock, no file, no network, no logging.

`Ledger` is driven by `Ledger.advance` (time passes, with what the devices did), `Ledger.apply` (a training event) and
`Ledger.set_price`. Everything else is read from it.

Two accounts are kept, and both are exact:

* the *node's* ledger, by state, in the order in which information arrives; its states always sum to the bill;
* each *run's* account, by the clock of the run's own events; what arrives late (a price, a start, an end) is entered
where it belongs.
"""

from epochcost.ledger.devices import Device, DeviceLedger
from epochcost.ledger.ledger import Ledger
from epochcost.ledger.ledger_settings import LedgerSettings
from epochcost.ledger.node_ledger import NodeLedger
from epochcost.ledger.price import PriceTrack
from epochcost.ledger.run import RunAccount

__all__ = ["Device", "DeviceLedger", "Ledger", "LedgerSettings", "NodeLedger", "PriceTrack", "RunAccount"]
