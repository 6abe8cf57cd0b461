# Before everything else: what a worker needs of a machine.
ip link set lo up
mkdir -p /run /tmp /var/lib /root
