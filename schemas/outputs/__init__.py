"""What goes out: the contracts that alert subscribers, billing systems and analysts rely on."""
