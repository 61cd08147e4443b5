# SPDX-License-Identifier: MIT
# Finds in a kernel's log what must not be there, and prints it as "NAME<tab>line": NAME is the
# test that ran, "boot" before the first and "end" after the last; up to 30 lines follow each
# complaint. Exit status 1 if there was one.
BEGIN {
	name = "boot"
	bad = "WARNING: |BUG: |BUG [a-z]|BUG at |Oops|KASAN|UBSAN:|KCSAN:|Bad page|bad: scheduling" \
		"|possible .*(locking|deadlock|lock inversion)|inconsistent .*usage|lock held " \
		"|INFO: (task|lockdep|trying|possible)|INFO: rcu|rcu: .*(stall|starved)|rcu_.* kthread" \
		"|general protection|nable to handle|stack segment|double fault|invalid opcode" \
		"|refcount_t: |list_(add|del) corruption|kernel BUG|Kernel panic" \
		"|kmemleak: [0-9]+ new|kmemleak: .*disabled|unreferenced object" \
		"|kmemleak: Cannot (allocate a kmemleak_object|insert)" \
		"|page_table_check|suspicious RCU|soft lockup|hard LOCKUP|nobody cared|NMI received"
	# Said by a test on purpose, with a trace.
	wanted = "FAULT_INJECTION: forcing|invoked oom-killer|page allocation failure" \
		"|vmalloc error: |sysrq: Show"
}
/hmm-vm: / {
	name = $0
	sub(/.*hmm-vm: (test )?/, "", name)
	# Output of the tasks that a test left at its time limit.
	asked = name == "time limit"
	if (asked)
		name = last
	last = name
	more = expected = 0
	next
}
asked { next }
$0 ~ wanted { expected = 1 }
$0 ~ bad && !/Command line:|nmi_watchdog/ { found = more = 30; expected = 0 }
/Call Trace:/ {
	if (!expected && !more)
		found = more = 30
	expected = 0
}
more > 0 { print name "\t" $0; more-- }
END { exit found > 0 }
