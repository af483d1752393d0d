"""A ClientApp that does nothing: what an exchange costs by itself."""

from flwr.app import ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

app = ClientApp()


@app.train()
def train(message: Message, context: Context) -> Message:
    """The arrays as they came."""
    arrays = message.content.array_records["arrays"]
    return Message(RecordDict({"arrays": arrays, "metrics": MetricRecord({"num-examples": 1})}), reply_to=message)


@app.query()
def query(message: Message, context: Context) -> Message:
    """As many bytes as came."""
    return Message(RecordDict({"record": ConfigRecord({"body": bytes(2000)})}), reply_to=message)
