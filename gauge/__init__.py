"""Measuring and judging. gauge gets callables, arrays and names; it knows no model or technique."""
