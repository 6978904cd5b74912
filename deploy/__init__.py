"""What puts ragweld on a machine: the console command, the supervisor of its two processes, and the doctor.

The top of the house: it may import every other package, and none imports it.
"""
