from setuptools import find_packages, setup

package_name = 'bringup'

setup(
    name=package_name,
    version='1.0.0',
    packages=find_packages(exclude=['test']),
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{package_name}']),
        (f'share/{package_name}', ['package.xml']),
    ],
    install_requires=['setuptools'],
    extras_require={'test': ['pytest']},
    maintainer='The robot team',
    maintainer_email='team@robots.example',
    description='A starter for a desktop, a probe for topics.',
    license='Apache-2.0',
    entry_points={
        'console_scripts': [
            'bringup = bringup.supervisor:main',
            'wait_for_topic = bringup.wait_for_topic:main',
        ],
    },
)
