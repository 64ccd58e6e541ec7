<?php
// Writes who called whom, innermost first, and waits.
function inner()
{
    $trace = debug_backtrace();
    foreach ($trace as $i => $call) {
        $caller = isset($trace[$i + 1]) ? $trace[$i + 1]['function'] : '<top-level>';
        echo "frame $caller {$call['line']}\n";
    }
    echo "ready\n";
    fgets(STDIN);
}

function middle($n)
{
    inner();
}

class Other
{
    function outer($depth)
    {
        if ($depth > 0) {
            return $this->outer($depth - 1);
        }
        middle($depth);
    }
}

(new Other)->outer(3);
