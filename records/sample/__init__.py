"""A made-up group of five subsidiaries: tables with the truth known, and the exports of the systems behind them."""
