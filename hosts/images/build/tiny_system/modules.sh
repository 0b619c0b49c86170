# Sourced by those who load kernel modules.
load_modules() { # file with one name in each line, in the order in which they need each other
    release=$(uname -r)
    for module in $(cat "$1"); do insmod "/lib/modules/$release/$module.ko"; done
}
