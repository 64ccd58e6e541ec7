# Writes who called whom, innermost first, and waits.
def inner
  caller_locations(1).each { |l| puts "frame #{l.base_label} #{l.lineno}" }
  puts "ready"
  $stdout.flush
  $stdin.read(1)
end

def middle(n)
  inner
end

class Other
  def outer(depth)
    return outer(depth - 1) if depth > 0
    middle(depth)
  end
end

Other.new.outer(3)
