# A closure in the shape of a small NixOS that really boots, and whose switch-to-configuration really installs GRUB:
# Debian's, with its libraries, from a store path. The builder is busybox; nothing is fetched.
{ tree # scripts/fetch-boot-tree's
}:
let
  files = builtins.path { path = tree; name = "files"; };

  busybox = "${files}/bin/busybox";

  sh = name: script: derivation {
    inherit name;
    system = builtins.currentSystem;
    builder = busybox;
    args = [ "sh" "-eu" "-c" ''
      for applet in cat chmod cp ln ls mkdir; do
        eval "$applet() { ${busybox} $applet \"\$@\"; }"
      done
      ${script}
    '' ];
  };
in rec {
  # Everything that a command needs: NixOS has it below /run/current-system/sw.
  systemPath = sh "system-path" ''
    mkdir -p $out/bin
    for applet in $(${busybox} --list); do
      ln -s ${busybox} $out/bin/$applet
    done
  '';

  kernelModules = sh "kernel-modules" ''
    mkdir -p $out/lib
    cp -r ${files}/lib/modules $out/lib/modules
  '';

  kernel = sh "bzImage" "cp ${files}/boot/vmlinuz-* $out";

  initrd = sh "initrd" "cp ${files}/boot/initrd.img-* $out";

  installer = sh "install-grub.sh" ''
    cat > $out <<'END'
    #!${busybox} sh
    set -e
    export PATH=${systemPath}/bin
    [ "$NIXOS_INSTALL_BOOTLOADER" = 1 ]
    files=${files}
    # The program and its libraries are Debian's: here the loader is in the store, as in NixOS.
    $files/lib64/ld-linux-x86-64.so.2 --library-path $files/lib/x86_64-linux-gnu $files/usr/sbin/grub-install \
      --target=i386-pc --no-floppy --directory=$files/usr/lib/grub/i386-pc --boot-directory=/boot \
      --fonts= --locales= --themes= /dev/vda
    printf 'serial\nterminal_output serial\nlinux %s/kernel root=LABEL=nixos init=%s/init console=ttyS0,115200\n' \
      "$1" "$1" > /boot/grub/grub.cfg
    printf 'initrd %s/initrd\nboot\n' "$1" >> /boot/grub/grub.cfg
    END
    chmod 755 $out
  '';

  toplevel = sh "nixos-system-boot-1.0" ''
    mkdir -p $out/bin
    cat > $out/bin/switch-to-configuration <<END
    #!${busybox} sh
    echo "switching to $out: \$1"
    exec ${installer} $out
    END
    cat > $out/activate <<END
    #!${busybox} sh
    ${systemPath}/bin/mkdir -p /etc && echo activated > /etc/activated
    END
    cat > $out/init <<END
    #!${busybox} sh
    ${systemPath}/bin/mount -t proc proc /proc
    ${systemPath}/bin/hostname nix-boot
    while true; do ${systemPath}/bin/getty -L 115200 ttyS0 vt100; done
    END
    chmod 755 $out/bin/switch-to-configuration $out/init $out/activate
    ln -s ${kernel} $out/kernel
    ln -s ${kernelModules} $out/kernel-modules
    ln -s ${initrd} $out/initrd
    ln -s ${systemPath} $out/sw
    echo -n 1.0 > $out/nixos-version
    echo -n x86_64-linux > $out/system
  '';
}
