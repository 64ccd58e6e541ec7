// templates: threads inside templates, lambdas, virtual calls, and a destructor
// that runs while an exception unwinds the stack.
#include <atomic>
#include <cstdio>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

#define CALL __attribute__((noinline, noclone))

namespace victim {

std::atomic<int> inside{0};
int nobody[2];

CALL void block() {
	inside++;
	char c;
	while (read(nobody[0], &c, 1) != 1) {}
}

template <unsigned N> struct Tower {
	CALL static unsigned climb(unsigned x) { return Tower<N - 1>::climb(x + N) + 1; }
};
template <> struct Tower<0> {
	CALL static unsigned climb(unsigned x) {
		block();
		return x;
	}
};

class Shape {
public:
	virtual ~Shape() = default;
	virtual double area(const std::string &unit, std::vector<int> &&scratch) const = 0;
};
class Circle final : public Shape {
	CALL double area(const std::string &unit, std::vector<int> &&scratch) const override {
		block();
		return unit.size() + scratch.size();
	}
};

class Guard {
public:
	CALL ~Guard() { block(); }
};

CALL void thrower(int x) {
	Guard guard;
	if (x) throw std::runtime_error("unwinding");
}

CALL void catcher() {
	try {
		thrower(1);
	} catch (const std::exception &e) {
		std::puts(e.what());
	}
}

CALL void handler() {
	try {
		throw 42;
	} catch (int) {
		block();
	}
}

} // namespace victim

int main() {
	using namespace victim;
	if (pipe(nobody)) return 2;
	std::unique_ptr<Shape> shape = std::make_unique<Circle>();
	std::vector<std::thread> threads;
	threads.emplace_back([] { Tower<8>::climb(3); });
	threads.emplace_back([&] { shape->area("m", std::vector<int>(4)); });
	threads.emplace_back(catcher);
	threads.emplace_back(handler);
	while (inside < 4) usleep(1000);
	usleep(20000);
	std::puts("ready threads=4");
	std::fflush(stdout);
	char c;
	while (read(0, &c, 1) > 0) {}
	_exit(0);
}
