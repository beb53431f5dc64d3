"""Machines: where work is done, in processes of one machine or of many, on which device, in how much memory."""
