# Writes who called whom, innermost first, and waits.
def inner
  caller_locations(1).each { |c| puts "frame #{c.label} #{c.lineno}" }
  puts 'ready'
  $stdout.flush
  $stdin.read(1)
end

# A method of some length: its later lines are found in another way.
def middle(n)
  a = [n, n + 1, n + 2, n + 3]
  b = { one: a[0], two: a[1], three: a[2], four: a[3] }
  a.push(b[:one] + b[:two], b[:two] + b[:three], b[:three] + b[:four])
  a.map! { |x| x * 2 }
  a.push(a[0] + a[1], a[1] + a[2], a[2] + a[3], a[3] + a[4])
  a.push(a[0] - a[1], a[1] - a[2], a[2] - a[3], a[3] - a[4])
  inner if a.size > n
end

class Other
  define_method(:made) { |n| middle(n) }

  def outer(depth)
    return outer(depth - 1) if depth > 0

    [depth].each { |d| [d].map { |e| made(e) } }
  end
end

Other.new.outer(3)
