#!/bin/sh
# Boots systemd on a copy of this machine's root directory, in new namespaces of mounts,
# processes, IPC, network, host names and control groups, which unshare has made.
#
#	boot.sh LAYER FILES
#
# LAYER is an empty directory, for all that is written: nothing of it is seen outside, or
# left. FILES are laid over the root. Of units there are those in FILES alone, and of the
# kernel's settings none can be changed.
set -eu
layer=$1 files=$2
mount -t tmpfs tmpfs "$layer"
mkdir "$layer/upper" "$layer/work" "$layer/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$layer/upper,workdir=$layer/work" "$layer/root"
cd "$layer/root"
rm -rf etc/systemd/system etc/fstab
cp -R "$files/." .
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=0755 tmpfs dev
for node in null zero full random urandom tty; do
	: >"dev/$node"
	mount --bind "/dev/$node" "dev/$node"
done
mkdir dev/shm dev/pts
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mount -t tmpfs -o mode=0755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mkdir -p host
pivot_root . host
cd /
umount -l /host
mount --make-rshared /
exec env -i container=crier-test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
	SYSTEMD_UNIT_PATH=/etc/systemd/system:/run/systemd/system \
	setpriv --bounding-set=-sys_boot,-sys_module,-sys_rawio,-sys_time,-wake_alarm \
	/lib/systemd/systemd --unit=crier-test.target
