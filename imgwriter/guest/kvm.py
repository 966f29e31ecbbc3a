"""Whether KVM is there at all: a look of a millisecond, before a guest is booted to try it.

A /dev/kvm can be there for another user, without a processor's help behind it, or held by another hypervisor.
One that makes a machine may still fail to boot a kernel: that, only a kernel tells.

Spec: the kernel's Documentation/virt/kvm/api.rst, 4.1, 4.2, 4.4, 4.7; include/uapi/linux/kvm.h.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from fcntl import ioctl

API_VERSION = 12
"""The one that all kernels since 2.6.22 have."""

_GET_API_VERSION = 0xAE00
_CREATE_VM = 0xAE01
_CHECK_EXTENSION = 0xAE03
_CREATE_VCPU = 0xAE41
_CAP_ARM_VM_IPA_SIZE = 165
"""How many bits a machine's addresses have on Arm, which is what KVM_CREATE_VM is told there; 0 elsewhere."""


def makes_a_machine(device: bytes = b"/dev/kvm") -> bool:
    """Tell whether this process can have a machine of one processor from KVM; nothing is run in it."""
    with ExitStack() as stack:
        try:
            kvm = os.open(device, os.O_RDWR | os.O_CLOEXEC)
            stack.callback(os.close, kvm)
            if ioctl(kvm, _GET_API_VERSION) != API_VERSION:
                return False
            machine = ioctl(kvm, _CREATE_VM, ioctl(kvm, _CHECK_EXTENSION, _CAP_ARM_VM_IPA_SIZE))
            stack.callback(os.close, machine)
            stack.callback(os.close, ioctl(machine, _CREATE_VCPU, 0))
        except OSError:
            return False
        return True
