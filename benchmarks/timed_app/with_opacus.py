"""A ClientApp in the way of Flower's Opacus example: torch and Opacus in the app, a new engine for each message.

The model and the rows are small, so that what is measured is the way and not the work.
"""

import torch
from flwr.app import Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from opacus import PrivacyEngine
from torch.utils.data import DataLoader, TensorDataset

ROWS, FEATURES = 512, 20
app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    """One epoch under differential privacy; the arrays as they came."""
    torch.manual_seed(context.node_id % 1000)
    model = torch.nn.Linear(FEATURES, 1)
    rows = torch.randn(ROWS, FEATURES)
    loader = DataLoader(TensorDataset(rows, (rows[:, :1] > 0).float()), batch_size=64)
    engine = PrivacyEngine(secure_mode=False)
    private, optimizer, batches = engine.make_private(
        module=model,
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        data_loader=loader,
        noise_multiplier=1.0,
        max_grad_norm=1.0,
    )
    loss = torch.nn.BCEWithLogitsLoss()
    for values, labels in batches:
        optimizer.zero_grad()
        loss(private(values), labels).backward()
        optimizer.step()
    engine.get_epsilon(1e-5)
    arrays = message.content.array_records["arrays"]
    return Message(RecordDict({"arrays": arrays, "metrics": MetricRecord({"num-examples": ROWS})}), reply_to=message)
