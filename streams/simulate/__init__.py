"""Portfolios with a known truth, to try things out without anybody's data."""

from streams.simulate.portfolio import Portfolio, simulate, write_portfolio

__all__ = ["Portfolio", "simulate", "write_portfolio"]
